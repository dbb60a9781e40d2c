"""Pushing to a registry that misbehaves: resumed where it has got to, or a clear error."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.support.rogue import OTHER, Call, Rogue, World, digest_of, head, reply
from tests.support.stores import manifest_path, put
from trillama.base.errors import NotFound, StoreError
from trillama.base.names import parse_reference
from trillama.base.progress import Progress
from trillama.models.manifest import MODEL, Config
from trillama.models.registry import upload
from trillama.models.registry.errors import RegistryError, Transient, Unauthorized
from trillama.models.registry.pull import PullRequest
from trillama.models.registry.push import Pusher

WEIGHTS = os.urandom(250_000)
NAME = "registry.test/a/m"


class Uploads(Rogue):
    """A registry that takes uploads.

    Attributes:
        sessions: what has come of each upload.
        cut: bytes after which a connection is cut, once for each item.
        forgets: uploads are gone after a cut.
        storage: where chunks are to go instead.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sessions: dict[str, bytearray] = {}
        self.cuts: list[int] = []
        self.forgets = False
        self.storage = ""
        self.etags: list[str] = []

    async def __call__(self, stream: trio.abc.Stream) -> None:
        async with stream:
            seen = bytearray()
            try:
                while await self._one(stream, seen):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _one(self, stream: trio.abc.Stream, seen: bytearray) -> bool:
        while b"\r\n\r\n" not in seen:
            data = await stream.receive_some()
            if not data:
                return False
            seen += data
        raw = bytes(seen[: seen.index(b"\r\n\r\n") + 4])
        large = b"Content-Length: 100000" in raw
        if raw.startswith(b"PATCH") and large and self.cuts:
            return await self._broken(stream, seen, len(raw))
        call = await self._read(stream, seen)
        if call is None:
            return False
        self.seen.append(call)
        trap = next((t for piece, t in self.traps.items() if piece in call.path), None)
        await (trap or self._take)(stream, call)
        return trap is None

    async def _broken(self, stream: trio.abc.Stream, seen: bytearray, start: int) -> bool:
        limit = self.cuts.pop(0)
        while len(seen) - start < limit and (data := await stream.receive_some()):
            seen += data
        path = seen.split()[1].decode()
        self.sessions[path] += seen[start : start + limit]
        if self.forgets:
            del self.sessions[path]
        return False

    async def _take(self, stream: trio.abc.Stream, call: Call) -> None:
        path, _, query = call.path.partition("?")
        if call.method == "HEAD":
            there = path.rpartition("/")[2] in self.blobs
            await stream.send_all(head(200 if there else 404, content_length=0))
        elif call.method == "POST":
            place = f"/v2/a/m/blobs/uploads/{len(self.sessions) + len(self.seen)}"
            self.sessions[place] = bytearray()
            await stream.send_all(head(202, content_length=0, location=place))
        elif "/manifests/" in path:
            self.manifests[path.removeprefix("/v2/")] = call.body
            await stream.send_all(head(201, content_length=0))
        elif path not in self.sessions:
            await stream.send_all(head(404, content_length=0))
        elif call.method == "GET":
            end = max(len(self.sessions[path]) - 1, 0)
            await stream.send_all(head(204, location=path, range=f"0-{end}"))
        elif call.method == "PATCH" and self.storage:
            there = f"http://storage.test/put{path}"
            top = head(307, content_length=0, location=there, docker_upload_location=path)
            await stream.send_all(top)
        elif call.method == "PATCH":
            self.sessions[path] += call.body
            await stream.send_all(head(202, content_length=0, location=path))
        else:
            self.etags.append(query)
            data = bytes(self.sessions.pop(path))
            self.blobs[digest_of(data)] = data
            good = digest_of(data).replace(":", "%3A") in query
            await stream.send_all(head(201 if good else 400, content_length=0))


@pytest.fixture
def rogue(monkeypatch: pytest.MonkeyPatch) -> Uploads:
    """It takes chunks of 100 kB."""
    monkeypatch.setattr(upload, "CHUNK", 100_000)
    return Uploads()


async def push(one: Any, name: str = NAME) -> list[Progress]:
    """Push; returns what was told."""
    lines: list[Progress] = []
    pusher = Pusher(one.store, one.transfers)
    await pusher.push(PullRequest(parse_reference(name), insecure=True), lines.append)
    return lines


async def stocked(bench: Callable[..., Any], **settings: Any) -> Any:
    """A bench whose store has the model."""
    one = await bench(**settings)
    put(one.store, NAME, (MODEL, WEIGHTS), config=Config(model_format="gguf"))
    return one


async def test_chunks_and_the_manifest(bench: Callable[..., Any], rogue: Uploads) -> None:
    """Blobs in chunks with their ranges, the manifest last and byte for byte."""
    one = await stocked(bench)
    lines = await push(one)

    assert rogue.blobs[digest_of(WEIGHTS)] == WEIGHTS
    assert rogue.manifests["a/m/manifests/latest"] == manifest_path(one.store, NAME).read_bytes()
    assert rogue.seen[-1].path == "/v2/a/m/manifests/latest"
    ranges = [call.headers["content-range"] for call in rogue.seen if call.method == "PATCH"]
    assert {"0-99999", "100000-199999", "200000-249999"} < set(ranges)
    assert [line.status for line in lines][-2:] == ["pushing manifest", "success"]
    sums = [hashlib.md5(WEIGHTS[at : at + 100_000]).digest() for at in range(0, 250_000, 100_000)]
    etag = hashlib.md5(b"".join(sums)).hexdigest()
    assert any(f"etag={etag}-3" in query for query in rogue.etags)


async def test_a_pinned_name_is_pushed_while_it_is_that(
    bench: Callable[..., Any], rogue: Uploads
) -> None:
    """With the digest of its manifest, whatever its tag; with any other there is no such model."""
    one = await stocked(bench)
    data = manifest_path(one.store, NAME).read_bytes()
    with pytest.raises(NotFound, match="not found"):
        await push(one, f"{NAME}@{digest_of(b'another')}")
    assert not rogue.seen

    await push(one, f"{NAME}@{digest_of(data)}")
    assert rogue.manifests["a/m/manifests/latest"] == data


async def test_a_cut_connection_is_resumed_where_the_registry_is(
    bench: Callable[..., Any], rogue: Uploads, jumping: trio.testing.MockClock
) -> None:
    """Bytes that arrived are not sent again."""
    rogue.cuts = [30_000, 50_000]
    one = await stocked(bench)
    await push(one)

    assert rogue.blobs[digest_of(WEIGHTS)] == WEIGHTS
    sent = sum(len(call.body) for call in rogue.seen if call.method == "PATCH")
    assert sent < len(WEIGHTS) + 1000 - 30_000


async def test_an_upload_the_registry_forgot_begins_anew(
    bench: Callable[..., Any], rogue: Uploads, jumping: trio.testing.MockClock
) -> None:
    """A session that is gone is no reason to fail."""
    rogue.cuts, rogue.forgets = [30_000], True
    one = await stocked(bench)
    await push(one)
    assert rogue.blobs[digest_of(WEIGHTS)] == WEIGHTS


async def test_chunks_for_the_registrys_storage(
    bench: Callable[..., Any], rogue: Uploads, world: World
) -> None:
    """A chunk that is sent on (307) goes there by PUT and without our token."""
    storage = Rogue()
    world.add("storage.test", storage, OTHER)

    async def take(stream: trio.abc.Stream, call: Call) -> None:
        rogue.sessions[call.path.removeprefix("/put")] += call.body
        await reply(200)(stream, call)

    storage.traps["/put"] = take
    rogue.storage = "there"
    one = await stocked(bench)
    await push(one)

    assert rogue.blobs[digest_of(WEIGHTS)] == WEIGHTS
    assert {call.method for call in storage.seen} == {"PUT"}
    assert not any("authorization" in call.headers for call in storage.seen)


@pytest.mark.parametrize(
    ("piece", "trap", "kind", "text"),
    [
        ("/uploads/", reply(401, www_authenticate="Basic x"), Unauthorized, "unauthorized"),
        ("/uploads/", reply(403, b"denied"), Unauthorized, "403: denied"),
        ("/uploads/", reply(202), RegistryError, "where to upload"),
        ("/uploads/", reply(202, location="http://10.0.0.1/x"), RegistryError, r"10\.0\.0\.1"),
        ("/manifests/", reply(400, b"no"), RegistryError, "400: no"),
    ],
)
async def test_a_registry_that_refuses(
    bench: Callable[..., Any], rogue: Uploads, piece: str, trap: Any, kind: Any, text: str
) -> None:
    """A clear error, at once; no bytes go to addresses the user did not name."""
    rogue.traps[piece] = trap
    one = await stocked(bench)
    with pytest.raises(kind, match=text):
        await push(one)


async def test_a_registry_that_is_away(
    bench: Callable[..., Any], world: World, jumping: trio.testing.MockClock
) -> None:
    """Who cannot be reached at all is told so in seconds."""
    world.servers.clear()
    one = await stocked(bench)
    began = trio.current_time()
    with pytest.raises(Transient, match="Connection refused"):
        await push(one)
    assert trio.current_time() - began < 10


async def test_what_is_not_there(bench: Callable[..., Any], rogue: Uploads) -> None:
    """A missing model or blob is told before anything is sent."""
    one = await stocked(bench)
    with pytest.raises(NotFound, match="not found"):
        await push(one, "registry.test/a/absent")
    path = one.store.root / "blobs" / f"sha256-{digest_of(WEIGHTS)[7:]}"
    path.write_bytes(b"cut")
    with pytest.raises(StoreError, match="its manifest says"):
        await push(one)
    assert "a/m/manifests/latest" not in rogue.manifests
