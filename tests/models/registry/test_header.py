"""The header of a file on another machine: fetched alone, and never trusted."""

from __future__ import annotations

import pytest
import trio

from tests.support.gguf_bytes import header, llama, small_model, with_data
from tests.support.rogue import PUBLIC, Call, Rogue, World, digest_of, head, redirect, reply
from trillama.base.errors import BadRequest, CorruptModel, TrillamaError
from trillama.models.gguf import MIB
from trillama.models.registry import header as remote
from trillama.models.registry.errors import AddressRefused, Missing, RegistryError, Transient
from trillama.models.registry.header import remote_gguf
from trillama.models.registry.session import Ways

BIG = with_data(
    header(
        llama(a__words=[f"word {i}" for i in range(150_000)]),
        [("t", (1024, 8192), 0, 0)],
    ),
    32 * MIB,
)
"""3 MB of header and 32 MiB of data."""


@pytest.fixture
def ways(world: World) -> Ways:
    """To the rogue's world alone."""
    return Ways(resolver=world.resolve, connector=world.connect)


def place(rogue: Rogue, data: bytes) -> str:
    """Where the rogue serves ``data``."""
    rogue.blobs[digest_of(data)] = data
    return f"http://registry.test/x/{digest_of(data)}"


async def test_only_the_header_comes(rogue: Rogue, ways: Ways) -> None:
    """Ranges up to the end of the header, and no more than one window beyond it."""
    found = await remote_gguf(place(rogue, BIG), ways)
    assert found.size == len(BIG)
    assert found.tensors[0].shape == (1024, 8192)
    assert found.data_offset <= rogue.served <= found.data_offset + 2 * MIB
    assert all(call.range for call in rogue.seen)


async def test_a_server_without_ranges(rogue: Rogue, ways: Ways) -> None:
    """It is read from the start, and left when the header is there."""
    rogue.ranges = False
    found = await remote_gguf(place(rogue, BIG), ways)
    assert found.tensors[0].shape == (1024, 8192)
    assert rogue.served <= found.data_offset + 4 * MIB
    assert len(rogue.seen) == 1


async def test_a_small_file(rogue: Rogue, ways: Ways) -> None:
    """Smaller than one window: one request."""
    found = await remote_gguf(place(rogue, small_model()), ways)
    assert len(found.tensors) == 2
    assert len(rogue.seen) == 1


async def test_redirects_are_judged(rogue: Rogue, world: World, ways: Ways) -> None:
    """To a public host they are followed, once; into a private network, never."""
    url = place(rogue, BIG)
    world.add("cdn.test", rogue, PUBLIC)
    rogue.traps["/moved"] = redirect(url.replace("registry.test", "cdn.test"), 302)
    assert (await remote_gguf("http://registry.test/moved", ways)).size == len(BIG)
    assert [call.path for call in rogue.seen].count("/moved") == 1
    for address in ("169.254.169.254", "10.0.0.1", "127.0.0.1", "[::1]"):
        rogue.traps["/moved"] = redirect(f"http://{address}/secret", 302)
        with pytest.raises(AddressRefused):
            await remote_gguf("http://registry.test/moved", ways)
    assert {address for address, _ in world.connections} == {PUBLIC}


@pytest.mark.parametrize(
    ("status", "body", "headers", "error"),
    [
        (404, b"", {}, Missing),
        (500, b"", {}, Transient),
        (403, b"no", {}, RegistryError),
        (200, b"<html>", {}, CorruptModel),
        (200, b"GGUF", {}, CorruptModel),
        (200, b"x", {"content_encoding": "gzip"}, RegistryError),
        (206, b"GGUF", {}, RegistryError),
        (206, b"GGUF", {"content_range": "bytes 5-8/100"}, RegistryError),
        (206, b"GGUF", {"content_range": "bytes 0-3/*"}, RegistryError),
        (206, b"GGUF", {"content_range": "bytes 0-9/100"}, RegistryError),
        (206, b"GGUF" * 9, {"content_range": "bytes 0-3/100"}, RegistryError),
        (206, b"GGUF", {"content_range": "bytes 0-99999999999/999999999999"}, RegistryError),
    ],
)
async def test_lies(
    rogue: Rogue, ways: Ways, status: int, body: bytes, headers: dict[str, str],
    error: type[TrillamaError],
) -> None:  # fmt: skip
    """Whatever the server says, the end is an error of ours."""
    rogue.traps["/x"] = reply(status, body, **headers)
    with pytest.raises(error):
        await remote_gguf("http://registry.test/x", ways)


async def test_a_header_without_end(rogue: Rogue, ways: Ways) -> None:
    """A server that streams for ever is left at the bound, or by what the file claims."""
    rogue.ranges = False
    endless = header({"a": "b"} | {f"k{i}": "x" * MIB for i in range(80)})
    with pytest.raises(CorruptModel, match="larger than"):
        await remote_gguf(place(rogue, endless), ways)
    assert rogue.served < 68 * MIB


async def test_a_drip_is_left(rogue: Rogue, ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says nothing more is not waited for."""
    monkeypatch.setattr(remote, "FETCH_TIMEOUT", 0.05)

    async def silent(stream: trio.abc.Stream, call: Call) -> None:
        await stream.send_all(head(200, content_length=1000) + b"GGUF")
        await trio.sleep_forever()

    rogue.traps["/x"] = silent
    with pytest.raises(Transient, match="took longer"):
        await remote_gguf("http://registry.test/x", ways)


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "http:///x", "http://a:b@c/x", "http://a:0/x", "http://a:99999/", "x"]
)
async def test_what_is_no_address(url: str, ways: Ways) -> None:
    """Refused before anything is asked."""
    with pytest.raises(BadRequest):
        await remote_gguf(url, ways)
