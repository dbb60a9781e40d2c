"""A registry that lies, floods, stalls or leads astray: a clear error, and the store as before.

All in a world without packets: names, addresses and connections are tables, time is a mock clock.
"""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.support.rogue import OTHER, Call, Rogue, World, digest_of, head, redirect, reply
from trillama.base.errors import CorruptModel, StoreFull, TrillamaError
from trillama.models.manifest import MANIFEST_CAP
from trillama.models.registry import parts
from trillama.models.registry.errors import (
    AddressRefused,
    DigestMismatch,
    RegistryError,
    Transient,
    Unauthorized,
)

WEIGHTS = bytes(range(256)) * 1000
NAME = "registry.test/a/m"
HOUR = 3600.0


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 32 KiB, so that a small blob has many."""
    monkeypatch.setattr(parts, "SMALLEST", 32 << 10)


async def refused(
    bench: Callable[..., Any], kind: type[BaseException], match: str, name: str = NAME, **how: Any
) -> Any:
    """Pull, expect that error; returns the bench, whose store has no model and no blob."""
    one = await bench(**how)
    with pytest.raises(kind, match=match):
        await one.pull(name)
    for file in one.files():
        assert file.startswith("blobs/"), "a manifest was written"
        if "partial" in file:  # another thread may be about to remove it
            continue
        data = (one.store.root / file).read_bytes()
        assert file == f"blobs/sha256-{digest_of(data)[7:]}", "a false blob"
    return one


def with_layers(rogue: Rogue, *layers: dict[str, Any]) -> None:
    document = {"schemaVersion": 2, "layers": list(layers)}
    rogue.manifests["a/m/manifests/latest"] = json.dumps(document).encode()


async def test_wrong_bytes(bench: Callable[..., Any], rogue: Rogue) -> None:
    """A blob that is not its digest is refused, and nothing of it stays."""
    rogue.put("a/m", WEIGHTS)
    rogue.blobs[digest_of(WEIGHTS)] = WEIGHTS[:-1] + b"x"
    one = await refused(bench, DigestMismatch, "digest mismatch, file must be downloaded again")
    assert not any(digest_of(WEIGHTS)[7:] in file for file in one.files())


async def test_wrong_bytes_of_a_small_blob(bench: Callable[..., Any], rogue: Rogue) -> None:
    """The same for one that comes in a single answer."""
    rogue.put("a/m", b"small")
    rogue.blobs[digest_of(b"small")] = b"smell"
    await refused(bench, DigestMismatch, "digest mismatch")


async def test_a_body_that_ends_early_is_asked_for_again(
    bench: Callable[..., Any], rogue: Rogue, jumping: trio.testing.MockClock
) -> None:
    """A connection cut in the middle costs a retry, not the download."""
    rogue.put("a/m", WEIGHTS)
    cuts = 5

    async def cut(stream: trio.abc.Stream, call: Call) -> None:
        nonlocal cuts
        cuts -= 1
        if not cuts:
            rogue.traps.clear()
        start, end = call.range or (0, 1)
        where = f"bytes {start}-{end - 1}/{len(WEIGHTS)}"
        await stream.send_all(head(206, content_length=end - start, content_range=where))
        await stream.send_all(WEIGHTS[start : start + 10_000])

    rogue.traps["/blobs/" + digest_of(WEIGHTS)] = cut
    one = await bench()
    await one.pull(NAME)
    assert one.store.find(NAME)


async def test_a_body_that_always_ends_early(
    bench: Callable[..., Any], rogue: Rogue, jumping: trio.testing.MockClock
) -> None:
    """Patience ends in an error that says what happened last."""
    rogue.put("a/m", WEIGHTS)

    async def nothing(stream: trio.abc.Stream, call: Call) -> None:
        await stream.send_all(head(200, content_length=len(WEIGHTS)))

    rogue.traps["/blobs/" + digest_of(WEIGHTS)] = nothing
    rogue.ranges = False
    began = trio.current_time()
    await refused(bench, Transient, "max retries exceeded: ")
    assert 3.9 * HOUR < trio.current_time() - began < 4.2 * HOUR


@pytest.mark.parametrize("length", [10, len(WEIGHTS) * 2])
async def test_a_lying_length(bench: Callable[..., Any], rogue: Rogue, length: int) -> None:
    """A length that is not the manifest's is refused before a byte is taken."""
    rogue.put("a/m", WEIGHTS)
    rogue.ranges = False
    rogue.traps["/blobs/"] = reply(200, b"x" * length)
    await refused(bench, RegistryError, "its manifest says")


async def test_a_length_of_the_range_that_lies(bench: Callable[..., Any], rogue: Rogue) -> None:
    """The whole must have the manifest's size, and the range be the one that was asked for."""
    rogue.put("a/m", WEIGHTS)
    rogue.traps["/blobs/"] = reply(206, b"x", content_range="bytes 0-0/999999999")
    await refused(bench, RegistryError, "another range|its manifest says")


async def test_more_than_was_asked_for(bench: Callable[..., Any], rogue: Rogue) -> None:
    """A body without end and without a length is cut where it should end."""
    rogue.put("a/m", b"tiny")

    async def flood(stream: trio.abc.Stream, call: Call) -> None:
        await stream.send_all(head(200))
        while True:
            await stream.send_all(bytes(1 << 16))

    rogue.traps["/blobs/"] = flood
    await refused(bench, RegistryError, "more than it was asked for")


@pytest.mark.parametrize("piece", ["/manifests/", "/blobs/"])
async def test_redirects_in_a_circle(bench: Callable[..., Any], rogue: Rogue, piece: str) -> None:
    """Ten hops are enough for everybody."""
    rogue.put("a/m", WEIGHTS)
    rogue.traps[piece] = redirect(f"/v2/a/m{piece}again")
    await refused(bench, RegistryError, "maximum redirects exceeded")
    assert len(rogue.seen) < 120


@pytest.mark.parametrize("piece", ["/manifests/", "/blobs/"])
@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254"),
        ("http://10.0.0.1/x", "10.0.0.1"),
        ("http://192.168.1.1/x", "192.168.1.1"),
        ("http://127.0.0.1:11434/api/tags", "127.0.0.1"),
        ("http://[::1]/x", "::1"),
        ("http://[::ffff:10.0.0.1]/x", "10.0.0.1"),
        ("http://[fd00::1]/x", "fd00::1"),
        ("http://inside.test/x", "10.1.2.3"),
        ("http://rebound.test/x", "10.1.2.3"),
        ("http://0.0.0.0/x", "0.0.0.0"),
    ],
)
async def test_redirects_to_private_addresses(
    bench: Callable[..., Any], rogue: Rogue, world: World, piece: str, place: str, text: str
) -> None:
    """No address on a private network is connected to that the user did not name."""
    rogue.put("a/m", WEIGHTS)
    world.names["inside.test"] = ["10.1.2.3"]
    world.names["rebound.test"] = [OTHER, "10.1.2.3"]
    rogue.traps[piece] = redirect(place)
    await refused(bench, AddressRefused, text.replace(".", r"\."))
    assert {address for address, _ in world.connections} == {"93.184.216.34"}


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://registry.test/x"])
async def test_redirects_to_no_web_address(
    bench: Callable[..., Any], rogue: Rogue, place: str
) -> None:
    """Only the web is followed."""
    rogue.put("a/m", WEIGHTS)
    rogue.traps["/blobs/"] = redirect(place)
    await refused(bench, RegistryError, "leads to")


async def test_a_named_private_host_may_be_spoken_to(
    bench: Callable[..., Any], rogue: Rogue, world: World
) -> None:
    """Whoever names their own registry means it; link-local is nobody's registry."""
    world.add("nas.test", rogue, "10.0.0.7")
    world.add("cloud.test", rogue, "169.254.169.254")
    rogue.put("a/m", WEIGHTS)
    one = await bench()
    await one.pull("nas.test/a/m")
    with pytest.raises(AddressRefused):
        await one.pull("cloud.test/a/m")


@pytest.mark.parametrize(
    ("realm", "text"),
    [
        ("http://evil.test/token", 'realm host "evil.test" does not match original host'),
        ("http://registry.test:81/token", "does not match"),
        ("http://registry.test@evil.test/token", "does not match"),
        ("http://169.254.169.254/token", "does not match"),
        ("", "wants a name and a password"),
    ],
)
async def test_a_foreign_realm(
    bench: Callable[..., Any], rogue: Rogue, world: World, realm: str, text: str
) -> None:
    """A token is asked for at the registry itself; nobody else sees a signature of our key."""
    evil = Rogue()
    world.add("evil.test", evil, OTHER)
    challenge = f'Bearer realm="{realm}",service="s",scope="repository:a/m:pull"'
    rogue.traps["/manifests/"] = reply(401, www_authenticate=challenge)
    await refused(bench, RegistryError, text)
    assert evil.seen == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"token":""}', b'{"token":"a\\r\\nX: y"}', b'{"token":7}']
)
async def test_a_token_that_is_none(bench: Callable[..., Any], rogue: Rogue, body: bytes) -> None:
    """What is no token becomes no header."""
    challenge = 'Bearer realm="http://registry.test/token",service="s",scope="x"'
    rogue.traps |= {"/manifests/": reply(401, www_authenticate=challenge)}
    rogue.traps |= {"/token": reply(200, body)}
    await refused(bench, Unauthorized, "holds no token")


async def test_a_token_reply_without_end(bench: Callable[..., Any], rogue: Rogue) -> None:
    """64 KiB are enough for a token."""
    challenge = 'Bearer realm="http://registry.test/token",service="s",scope="x"'
    rogue.traps |= {"/manifests/": reply(401, www_authenticate=challenge)}
    rogue.traps |= {"/token": reply(200, b'{"token":"' + b"a" * 100_000)}
    await refused(bench, RegistryError, "more than 65536 bytes")


async def test_a_registry_that_never_lets_us(bench: Callable[..., Any], rogue: Rogue) -> None:
    """Two tokens, then no."""
    challenge = 'Bearer realm="http://registry.test/token",service="s",scope="x"'
    rogue.traps |= {"/manifests/": reply(401, www_authenticate=challenge)}
    rogue.traps |= {"/token": reply(200, b'{"token":"abc"}')}
    await refused(bench, Unauthorized, "unauthorized: access denied")
    assert len(rogue.seen) < 8


async def test_a_million_layers(bench: Callable[..., Any], rogue: Rogue) -> None:
    """A manifest beyond all measure is refused, by its size or by its count."""
    layer = {"digest": digest_of(b""), "size": 0}
    with_layers(rogue, *[layer] * 100_000)
    assert len(rogue.manifests["a/m/manifests/latest"]) < MANIFEST_CAP
    await refused(bench, CorruptModel, "layers; at most")
    with_layers(rogue, *[layer] * 1_000_000)
    await refused(bench, RegistryError, "sends more than")


@pytest.mark.parametrize("told", [True, False])
async def test_a_manifest_of_two_gigabytes(
    bench: Callable[..., Any], rogue: Rogue, told: bool
) -> None:
    """It is not read further than a manifest may go, and memory stays flat."""
    sent = 0

    async def flood(stream: trio.abc.Stream, call: Call) -> None:
        nonlocal sent
        await stream.send_all(head(200, **({"content_length": 2 << 30} if told else {})))
        while sent < 2 << 30:
            await stream.send_all(bytes(1 << 20))
            sent += 1 << 20

    rogue.traps["/manifests/"] = flood
    tracemalloc.start()
    try:
        await refused(bench, RegistryError, "sends more than")
        assert tracemalloc.get_traced_memory()[1] < 4 * MANIFEST_CAP
    finally:
        tracemalloc.stop()
    assert sent <= (0 if told else MANIFEST_CAP + (2 << 20))


@pytest.mark.parametrize("piece", ["/manifests/", "/blobs/"])
async def test_a_compressed_bomb(bench: Callable[..., Any], rogue: Rogue, piece: str) -> None:
    """Nothing is decompressed; who compresses unasked is told so."""
    rogue.put("a/m", WEIGHTS)
    bomb = gzip.compress(bytes(10 << 20))
    rogue.traps[piece] = reply(200, bomb, content_encoding="gzip")
    await refused(bench, RegistryError, "compresses its answer unasked")
    assert all(call.headers["accept-encoding"] == "identity" for call in rogue.seen)


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../etc/passwd",
        "../../outside",
        "sha256:" + "../" * 21 + "x",
        "sha256-" + "0" * 63 + "/",
        "sha256:" + "0" * 64 + "/../../x",
        "sha256:" + "٠" * 64,
        "sha512:" + "0" * 128,
        "",
    ],
)
async def test_a_digest_that_is_a_path(
    bench: Callable[..., Any], rogue: Rogue, digest: str
) -> None:
    """The traversal of CVE-2024-37032 and CVE-2026-103663: no such digest reaches a path."""
    with_layers(rogue, {"digest": digest, "size": 3})
    await refused(bench, CorruptModel, "digest|names no blobs")
    assert [call.path for call in rogue.seen] == ["/v2/a/m/manifests/latest"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"layers":{}}',
        b'{"layers":[null]}',
        b'{"layers":[{"digest":7}]}',
        b'{"layers":[{"digest":"sha256:%s","size":-1}]}' % (b"0" * 64),
        b'{"layers":[{"digest":"sha256:%s","size":1e400}]}' % (b"0" * 64),
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
async def test_a_manifest_that_is_none(
    bench: Callable[..., Any], rogue: Rogue, body: bytes
) -> None:
    """The shapes of CVE-2025-1975 and its kin end in a sentence."""
    rogue.manifests["a/m/manifests/latest"] = body
    await refused(bench, CorruptModel, "manifest")


async def test_a_size_beyond_the_disk(bench: Callable[..., Any], rogue: Rogue) -> None:
    """An absurd size is refused before a byte is fetched or reserved."""
    with_layers(rogue, {"digest": digest_of(WEIGHTS), "size": 1 << 60})
    one = await refused(bench, StoreFull, "free")
    assert one.files() == set()


async def test_a_size_that_is_not_the_blobs(bench: Callable[..., Any], rogue: Rogue) -> None:
    """Manifest and blob must agree."""
    with_layers(rogue, {"digest": digest_of(WEIGHTS), "size": len(WEIGHTS) + 1})
    rogue.blobs[digest_of(WEIGHTS)] = WEIGHTS
    await refused(bench, RegistryError, "its manifest says")


async def test_a_drip_of_one_byte_a_second(
    bench: Callable[..., Any], rogue: Rogue, jumping: trio.testing.MockClock
) -> None:
    """A trickle is no progress: the pull ends when its patience does, not in years."""
    rogue.put("a/m", WEIGHTS)

    async def drip(stream: trio.abc.Stream, call: Call) -> None:
        await stream.send_all(head(200, content_length=len(WEIGHTS)))
        while True:
            await trio.sleep(1)
            await stream.send_all(b"x")

    rogue.traps["/blobs/" + digest_of(WEIGHTS)] = drip
    rogue.ranges = False
    began = trio.current_time()
    await refused(bench, Transient, "max retries exceeded", pull_patience=600 * 10**9)
    assert 600 <= trio.current_time() - began < 900


async def test_a_manifest_that_drips(
    bench: Callable[..., Any], rogue: Rogue, jumping: trio.testing.MockClock
) -> None:
    """A small answer has a minute, all of it, and three tries."""

    async def drip(stream: trio.abc.Stream, call: Call) -> None:
        await stream.send_all(head(200, content_length=1000))
        while True:
            await trio.sleep(1)
            await stream.send_all(b"x")

    rogue.traps["/manifests/"] = drip
    began = trio.current_time()
    await refused(bench, Transient, "took longer than 60 s")
    assert 170 < trio.current_time() - began < 200


async def test_silence(
    bench: Callable[..., Any], rogue: Rogue, jumping: trio.testing.MockClock
) -> None:
    """A connection that stalls is replaced within seconds, and the pull goes on."""
    rogue.put("a/m", WEIGHTS)
    stalls = 3

    async def stall(count: int) -> None:
        nonlocal stalls
        if rogue.served > 50_000 and stalls:
            stalls -= 1
            await trio.sleep(10 * HOUR)

    rogue.pace = stall
    one = await bench()
    began = trio.current_time()
    await one.pull(NAME)
    assert trio.current_time() - began < 60


async def test_an_outage_of_hours(
    bench: Callable[..., Any], rogue: Rogue, world: World, jumping: trio.testing.MockClock
) -> None:
    """A network that is away for three hours delays a pull and does not end it."""
    rogue.put("a/m", WEIGHTS)
    one = await bench(max_transfer_streams=2)
    gone, back = trio.Event(), 0.0

    async def away(count: int) -> None:
        if rogue.served > 50_000 and not (back and trio.current_time() >= back):
            world.servers.clear()
            gone.set()
            raise trio.BrokenResourceError

    rogue.pace = away

    async def repair() -> None:
        nonlocal back
        await gone.wait()
        back = trio.current_time() + 3 * HOUR
        await trio.sleep_until(back)
        world.add("registry.test", rogue)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(repair)
        await one.pull(NAME)
    assert trio.current_time() - back < 120
    assert any(line.status.startswith("retrying ") for line in one.lines)
    assert rogue.served < len(WEIGHTS) + 8 * (64 << 10) + 1000


@pytest.mark.parametrize("status", [400, 402, 403, 404, 410, 412, 418, 451])
async def test_a_status_that_will_not_pass(
    bench: Callable[..., Any], rogue: Rogue, status: int
) -> None:
    """A refusal is told at once, in the registry's words made harmless."""
    rogue.traps["/manifests/"] = reply(status, b"pull a newer\x1b[2J version")
    one = await refused(bench, RegistryError, "^pull model manifest: ")
    assert len(rogue.seen) == 1
    with pytest.raises(RegistryError) as told:
        await one.pull(NAME)
    assert "\x1b" not in told.value.message


async def test_a_registry_that_is_busy(
    bench: Callable[..., Any], rogue: Rogue, jumping: trio.testing.MockClock
) -> None:
    """429 with Retry-After is obeyed."""
    rogue.put("a/m", WEIGHTS)
    began = trio.current_time()

    async def busy(stream: trio.abc.Stream, call: Call) -> None:
        if trio.current_time() - began > 100:
            rogue.traps.clear()
        await reply(429, b"slow down", retry_after=50)(stream, call)

    rogue.traps["/blobs/"] = busy
    one = await bench(max_transfer_streams=1)
    await one.pull(NAME)
    assert len(rogue.seen) < 40


async def test_https_is_not_left(bench: Callable[..., Any], world: World) -> None:
    """A redirect from https to http is refused, whoever is behind it."""
    from trillama.models.registry.session import _next

    with pytest.raises(RegistryError, match="from https to http"):
        _next("https://registry.test/v2/", "http://registry.test/v2/")


async def test_headers_without_end(bench: Callable[..., Any], rogue: Rogue) -> None:
    """A header larger than any header ends the try."""

    async def flood(stream: trio.abc.Stream, call: Call) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n")
        while True:
            await stream.send_all(b"X: " + b"y" * 50_000 + b"\r\n")

    rogue.traps["/manifests/"] = flood
    await refused(bench, TrillamaError, "breaks the protocol")


async def test_http_where_https_was_meant(bench: Callable[..., Any], world: World) -> None:
    """Told at once, with what can be done; trying again would not help."""

    async def plain(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    world.servers["93.184.216.34", 443] = plain
    one = await bench()
    with pytest.raises(RegistryError, match=r"speaks no https .* say insecure"):
        await one.pull(NAME, insecure=False)
    assert len(world.connections) == 1


async def test_names_of_hugging_face(bench: Callable[..., Any], rogue: Rogue, world: World) -> None:
    """A quantisation is a tag; the realm of its other host is known."""
    world.add("hf.co", rogue)
    world.add("huggingface.co", rogue)
    rogue.put("user/Repo-GGUF", WEIGHTS, tag="Q4_K_M")
    one = await bench()
    await one.pull("hf.co/user/Repo-GGUF:Q4_K_M")
    assert rogue.seen[0].path == "/v2/user/Repo-GGUF/manifests/Q4_K_M"

    challenge = 'Bearer realm="http://huggingface.co/v2/token",service="s",scope="x"'
    rogue.traps |= {"/manifests/": reply(401, www_authenticate=challenge)}
    rogue.traps |= {"/v2/token": reply(200, b'{"token":"abc"}')}
    with pytest.raises(Unauthorized, match="access denied"):
        await one.pull("hf.co/user/Repo-GGUF:Q8_0")
    assert any(call.path.startswith("/v2/token") for call in rogue.seen)
