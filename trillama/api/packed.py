"""Request bodies that come compressed, unpacked within a bound.

As with Ollama, only the routes of other dialects take them: some of their clients pack every body.
A few bytes can unpack to gigabytes, so the output is counted as it comes and the window of zstd is
bounded.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping

from ..base.errors import BadRequest
from .errors import Encoded, TooLarge

DIALECTS = "/v1/"
"""Where the paths begin that take packed bodies."""

CHUNK = 1 << 20
MEMBER = b"\x1f\x8b"
"""How a member of a gzip begins; there may be several, one behind the other."""
WINDOW = 8 << 20
"""Bytes that zstd may look back; frames that want more are refused."""


def _gzip(data: bytes) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    rest = data
    try:
        while rest:
            yield unpacker.decompress(rest, CHUNK)
            rest = unpacker.unconsumed_tail
            if unpacker.eof and unpacker.unused_data.startswith(MEMBER):
                rest, unpacker = unpacker.unused_data, zlib.decompressobj(wbits=31)
    except zlib.error:
        raise BadRequest("the request body is no gzip, though it says so") from None
    if not unpacker.eof:
        raise BadRequest("the request body ends within its gzip")


def _zstd(data: bytes) -> Iterator[bytes]:
    import zstandard  # rarely needed, and slow to import

    reader = zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(data)
    try:
        while chunk := reader.read(CHUNK):
            yield chunk
    except zstandard.ZstdError:
        raise BadRequest("the request body is no zstd, though it says so") from None


UNPACKERS: Mapping[str, Callable[[bytes], Iterator[bytes]]] = {"gzip": _gzip, "zstd": _zstd}


def encoding_of(header: str, path: str) -> str:
    """How a body is packed, "" for not at all.

    Args:
        header: its ``Content-Encoding``.

    Raises:
        Encoded: ``path`` does not take it so.
    """
    name = header.strip().lower()
    if name in ("", "identity"):
        return ""
    taken = tuple(UNPACKERS) if path.startswith(DIALECTS) else ()
    if name not in taken:
        raise Encoded(header, taken)
    return name


def unpacked(data: bytes, encoding: str, limit: int) -> bytes:
    """The body; a call for a worker thread.

    Raises:
        TooLarge: it has more than ``limit`` bytes.
        BadRequest: it is not packed as it says.
    """
    found = bytearray()
    for chunk in UNPACKERS[encoding](data):
        found += chunk
        if len(found) > limit:
            raise TooLarge(f"the request body unpacks to more than {limit} bytes")
    return bytes(found)
