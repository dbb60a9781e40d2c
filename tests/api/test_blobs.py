"""Uploads: checked before they are visible, refused early, flat in memory."""

from __future__ import annotations

import functools
import hashlib
import shutil
import tracemalloc
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.house import ask, connect
from trillama import blobs
from trillama.api import blobs as uploads
from trillama.base.names import Digest
from trillama.models import bundled
from trillama.models.store import ModelStore

DATA = b"weights " * 500_000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
URL = f"/api/blobs/{DIGEST}"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """An empty store, without the bundled model."""
    monkeypatch.setattr(bundled, "bundled_file", lambda: None)
    return ModelStore(tmp_path / "models")


@pytest.fixture
def house(build: Callable[..., Any], store: ModelStore) -> Callable[..., Any]:
    """Starts a server on the store."""
    return functools.partial(build, store=store)


async def test_upload(house: Callable[..., Any], store: ModelStore) -> None:
    """201 once, 200 when it is there already, and HEAD tells which."""
    there = await house()
    statuses = [
        (await ask(there, method, URL, DATA if method == "POST" else None)).status
        for method in ("HEAD", "POST", "POST", "HEAD")
    ]
    assert statuses == [404, 201, 200, 200]
    assert store.blobs.read_bytes(Digest(DIGEST), len(DATA)) == DATA


async def test_other_spellings_of_a_digest(house: Callable[..., Any]) -> None:
    """A dash and upper case mean the same blob."""
    there = await house()
    url = URL.replace(":", "-")
    assert (await ask(there, "POST", url[:-64] + url[-64:].upper(), DATA)).status == 201
    assert (await ask(there, "HEAD", URL)).status == 200


@pytest.mark.parametrize("text", ["sha256:zz", "x", "sha1:" + "a" * 40])
async def test_what_is_no_digest(house: Callable[..., Any], text: str) -> None:
    """400 in Ollama's words, whatever it is; and no file."""
    there = await house()
    reply = await ask(there, "POST", f"/api/blobs/{text}", b"x")
    assert (reply.status, reply.json()) == (400, {"error": "invalid digest format"})
    assert (await ask(there, "HEAD", f"/api/blobs/{text}")).status == 400
    assert (await ask(there, "POST", f"/api/blobs/..%2F{text}", b"x")).status in (307, 404)


async def test_a_wrong_digest_leaves_nothing(house: Callable[..., Any], store: ModelStore) -> None:
    """What is not what it claims to be never gets a name."""
    wrong = "sha256:" + "0" * 64
    reply = await ask(await house(), "POST", f"/api/blobs/{wrong}", DATA)
    assert reply.status == 400
    assert reply.json() == {"error": f'digest mismatch, expected "{wrong}", got "{DIGEST}"'}
    assert store.blobs.entries() == []


async def test_methods(house: Callable[..., Any]) -> None:
    """There is no way to read or delete a blob."""
    there = await house()
    for method in ("GET", "DELETE"):
        reply = await ask(there, method, URL)
        assert (reply.status, reply.headers["allow"]) == (405, "HEAD, POST")


async def test_a_full_disk_is_told_before_the_upload(
    house: Callable[..., Any], store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """507 at once, not after an hour of uploading."""
    there = await house()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, blobs.SPARE))
    wire = await connect(there)
    head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(DATA)}\r\n\r\n"
    await wire.stream.send_all(head.encode())
    reply = await wire.reply()
    assert reply.status == 507
    assert "MiB are free" in reply.json()["error"]
    assert store.blobs.entries() == []


async def test_a_broken_upload_leaves_nothing(house: Callable[..., Any], store: ModelStore) -> None:
    """A client that leaves in the middle costs no disk."""
    there = await house()
    wire = await connect(there)
    head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(DATA)}\r\n\r\n"
    await wire.stream.send_all(head.encode() + DATA[:2_000_000])
    await there.until(lambda: bool(store.blobs.entries()))
    wire.hang_up()
    await there.until(lambda: not store.blobs.entries())


async def test_a_stalled_upload_is_given_up(
    house: Callable[..., Any], store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that sends nothing more is told so."""
    monkeypatch.setattr(uploads, "BODY_PATIENCE", 0.05)
    there = await house()
    wire = await connect(there)
    head = f"POST {URL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(DATA)}\r\n\r\n"
    await wire.stream.send_all(head.encode() + DATA[:100])
    reply = await wire.reply()
    assert reply.status == 408
    assert store.blobs.entries() == []


async def test_many_clients_upload_one_blob(house: Callable[..., Any], store: ModelStore) -> None:
    """All succeed and one whole blob remains."""
    there = await house()
    statuses: list[int] = []

    async def upload() -> None:
        statuses.append((await ask(there, "POST", URL, DATA)).status)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(upload)
    assert set(statuses) <= {200, 201}
    assert [entry.name for entry in store.blobs.entries()] == [Digest(DIGEST).file_name]
    assert store.blobs.read_bytes(Digest(DIGEST), len(DATA)) == DATA


async def test_memory_stays_flat(
    house: Callable[..., Any], store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk slower than the network makes the client wait; nothing piles up."""
    there = await house()
    gate, written = trio.Event(), 0
    real = blobs.Stage.write

    def write(stage: blobs.Stage, data: bytes) -> None:
        nonlocal written
        written += len(data)
        if written > 4 << 20:
            trio.from_thread.run(gate.wait)
        real(stage, data)

    monkeypatch.setattr(blobs.Stage, "write", write)
    piece = bytes(1 << 20)
    size = 64 << 20
    digest = f"sha256:{hashlib.sha256(bytes(size)).hexdigest()}"
    wire = await connect(there)
    sent = 0

    async def send() -> None:
        nonlocal sent
        for _ in range(64):
            await wire.stream.send_all(piece)
            sent += len(piece)

    head = f"POST /api/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    await wire.stream.send_all(head.encode())
    tracemalloc.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await there.until(lambda: written > 4 << 20)
        for _ in range(200):
            await trio.lowlevel.checkpoint()
        blocked = sent
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        gate.set()
    assert blocked < 32 << 20, "the client was not made to wait"
    assert peak < 16 << 20
    assert (await wire.reply()).status == 201
    assert store.blobs.size(Digest(digest)) == size
