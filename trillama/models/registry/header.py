"""The header of a GGUF file that lies on another machine, fetched alone.

Ranges of it are asked for as the reader wants them, under the rules of ``session`` and ``network``:
the host a user named may be private, where its redirects lead may not. A server that knows no
ranges is read from the start, up to a bound. Nothing is written to the disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import trio

from trillama.base.errors import BadRequest
from trillama.base.registries import Registry

from ..gguf import GgufFile, Limits, parse_gguf
from .errors import RegistryError, Transient
from .reply import Reply, host_of, refuse
from .session import Ask, Session, Ways

LIMITS = Limits(seconds=180.0)
"""What a remote header may cost; a vocabulary of 256,000 words takes some 10 MB."""

FETCH_TIMEOUT = 60.0
"""Seconds within which a range must have come."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)


async def remote_gguf(url: str, ways: Ways) -> GgufFile:
    """Read the header of the file at ``url``; arrays of more than 1,024 elements are stepped over.

    Raises:
        BadRequest: it is no web address, or holds a password.
        CorruptModel: what lies there is no sound GGUF file.
        RegistryError: the server refuses, lies about ranges, or sends too much.
        Transient: it cannot be reached, or is too slow.
    """
    registry = _place(url)
    async with Session(registry, ways, connections=2) as session:
        ranges = _Ranges(session, url)
        try:
            await ranges.open()
            return await trio.to_thread.run_sync(
                lambda: parse_gguf(ranges.read, ranges.size, limits=LIMITS)
            )
        finally:
            await ranges.close()


def _place(url: str) -> Registry:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadRequest(f"{url} is no web address") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise BadRequest(f"{url} is no web address")
    if "@" in parts.netloc:
        raise BadRequest("a name and a password in the address are not supported")
    netloc = parts.netloc.lower()
    return Registry(host=netloc, netloc=netloc, scheme=parts.scheme)


class _Ranges:
    """Bytes of the file, on demand.

    Attributes:
        size: bytes of the whole file, as the server says.
    """

    def __init__(self, session: Session, url: str) -> None:
        self.size = 0
        self._session = session
        self._url = url
        self._first = b""
        self._stream: Reply | None = None
        self._come = bytearray()

    async def open(self) -> None:
        """Ask for the beginning, and learn the size and whether there are ranges."""
        with _in_time(self._url):
            reply = await self._ask(0, LIMITS.window)
            if reply.status == 206:
                async with reply:
                    self._url = reply.url  # where redirects lead, so that they are followed once
                    self._first = await self._range(reply, 0)
                return
            self._stream = reply
            await refuse(reply)
            self.size = _length(reply)

    async def close(self) -> None:
        """Give the connection back."""
        if self._stream is not None:
            await self._stream.__aexit__(None, None, None)

    def read(self, count: int, position: int) -> bytes:
        """As ``os.pread``; called by the reader on its thread."""
        end = min(position + count, self.size)
        if self._stream is None and end <= len(self._first):
            return self._first[position:end]
        return trio.from_thread.run(self._fetch, count, position)

    async def _fetch(self, count: int, position: int) -> bytes:
        end = min(position + count, self.size)
        if position >= end:
            return b""
        with _in_time(self._url):
            if self._stream is not None:
                return await self._from_stream(self._stream, position, end)
            async with await self._ask(position, end) as reply:
                await refuse(reply)
                if reply.status != 206:
                    raise RegistryError(f"{host_of(self._url)} no longer serves ranges")
                return await self._range(reply, position)

    async def _ask(self, start: int, end: int) -> Reply:
        headers = {"Range": f"bytes={start}-{end - 1}"}
        return await self._session.send(Ask(url=self._url, headers=headers))

    async def _range(self, reply: Reply, start: int) -> bytes:
        """The body of a partial answer, which has to be what was asked for."""
        found = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", ""))
        first, last, size = map(int, found.groups()) if found else (-1, -1, 0)
        if first != start or not first <= last < size or self.size not in (0, size):
            raise RegistryError(f"{host_of(self._url)} sends another range than was asked for")
        self.size = size
        body = await reply.read(last + 1 - first)
        if len(body) != last + 1 - first:
            raise Transient(f"{host_of(self._url)} sent less than it said")
        return body

    async def _from_stream(self, stream: Reply, position: int, end: int) -> bytes:
        """Read on from the start; the reader never asks beyond the bound of a header."""
        while len(self._come) < end:
            chunk = await stream.read_some()
            if not chunk:
                raise Transient(f"{host_of(self._url)} sent less than it said")
            self._come += chunk
        return bytes(self._come[position:end])


def _length(reply: Reply) -> int:
    text = reply.headers.get("content-length", "")
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise RegistryError(f"{host_of(reply.url)} does not say how large the file is")
    return int(text)


@contextmanager
def _in_time(url: str) -> Iterator[None]:
    try:
        with trio.fail_after(FETCH_TIMEOUT):
            yield
    except trio.TooSlowError:
        raise Transient(f"{host_of(url)} took longer than {FETCH_TIMEOUT:.0f} s") from None
