"""Compressed bodies: unpacked where clients send them, within bounds, or refused by name."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

from tests.support.house import ask
from trillama.api.errors import TooLarge
from trillama.api.packed import WINDOW, unpacked
from trillama.base.errors import BadRequest

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress,
}  # fmt: skip
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Repeat: x"}]}).encode()


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages/count_tokens"])
async def test_other_dialects_take_them(
    build: Callable[..., Any], encoding: str, path: str
) -> None:
    """The answer is that to the plain body."""
    house = await build()
    packed = await ask(
        house, "POST", path, PACKERS[encoding](BODY), f"Content-Encoding: {encoding}"
    )

    assert packed.status == 200, packed.body


@pytest.mark.parametrize(
    ("path", "encoding", "taken"),
    [
        ("/v1/chat/completions", "br", "gzip, zstd, identity"),
        ("/v1/messages", "gzip, gzip", "gzip, zstd, identity"),
        ("/api/chat", "zstd", "identity"),
        ("/rerank", "gzip", "identity"),
    ],
)
async def test_what_is_not_taken_is_refused_by_name(
    build: Callable[..., Any], path: str, encoding: str, taken: str
) -> None:
    """With what is, in the dialect's words."""
    reply = await ask(await build(), "POST", path, BODY, f"Content-Encoding: {encoding}")

    assert (reply.status, reply.headers["accept-encoding"]) == (415, taken)
    assert f"'{encoding}'" in reply.body.decode()


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_body_may_be_packed_in_parts(encoding: str) -> None:
    """One behind the other, as both formats allow."""
    pack = PACKERS[encoding]
    packed = b"".join(pack(part) for part in (BODY[:9], b"", BODY[9:]))

    assert unpacked(packed, encoding, len(BODY)) == BODY


async def test_identity_is_none(build: Callable[..., Any]) -> None:
    """Everywhere."""
    reply = await ask(await build(), "POST", "/api/chat", BODY, "Content-Encoding: Identity")
    assert reply.status == 200


@pytest.mark.parametrize("encoding", PACKERS)
def test_what_unpacks_to_too_much_is_refused_in_time(encoding: str) -> None:
    """A bomb of half a gigabyte costs little more than the limit."""
    pack = zstandard.ZstdCompressor().compressobj() if encoding == "zstd" else None
    zeros = bytes(1 << 20)
    if pack:
        bomb = b"".join(pack.compress(zeros) for _ in range(512)) + pack.flush()
    else:
        bomb = gzip.compress(zeros * 64)
    tracemalloc.start()
    with pytest.raises(TooLarge):
        unpacked(bomb, encoding, 4 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 16 << 20


@pytest.mark.parametrize("encoding", PACKERS)
def test_what_is_damaged_is_refused(encoding: str) -> None:
    """Bytes of another kind; a gzip that breaks off."""
    with pytest.raises(BadRequest, match=f"no {encoding}"):
        unpacked(BODY, encoding, 1000)
    with pytest.raises(BadRequest, match="ends within"):
        unpacked(gzip.compress(BODY)[:-9], "gzip", 1000)


def test_a_wide_window_is_refused() -> None:
    """It would take as much memory as it looks back."""
    wide = zstandard.ZstdCompressionParameters(window_log=27)
    frame = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    data = frame.compress(bytes(WINDOW)) + frame.flush()

    with pytest.raises(BadRequest, match="no zstd"):
        unpacked(data, "zstd", 4 * WINDOW)
