"""Pulling from a registry that behaves."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.rogue import OTHER, Call, Rogue, World, digest_of, redirect
from trillama.base.errors import StoreFull
from trillama.models.registry import parts
from trillama.models.registry.errors import Missing, Offline, RegistryError

WEIGHTS = os.urandom(300_000)
SYSTEM = b"Be brief."
NAME = "registry.test/a/m"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 32 KiB, so that a small blob has many."""
    monkeypatch.setattr(parts, "SMALLEST", 32 << 10)


@pytest.fixture
def model(rogue: Rogue) -> bytes:
    """A model in the registry; its manifest."""
    return rogue.put("a/m", WEIGHTS, SYSTEM)


async def test_a_pull_tells_what_ollama_tells(
    bench: Callable[..., Any], rogue: Rogue, model: bytes
) -> None:
    """Statuses in Ollama's order; the last line of each blob is complete."""
    one = await bench()
    statuses = await one.pull(NAME)
    short = [digest_of(data)[7:19] for data in (WEIGHTS, SYSTEM)]

    assert statuses[0] == "pulling manifest"
    assert statuses[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    assert {f"pulling {one}" for one in short} < set(statuses)
    last = {line.digest: line for line in one.lines if line.digest}
    assert all(line.completed == line.total for line in last.values())


async def test_manifest_and_blobs_are_kept_byte_for_byte(
    bench: Callable[..., Any], rogue: Rogue, model: bytes
) -> None:
    """The store holds exactly what the registry has, and nothing else."""
    one = await bench()
    await one.pull(NAME)
    blobs = {f"blobs/sha256-{digest[7:]}" for digest in rogue.blobs}

    assert one.files() == blobs | {"manifests/registry.test/a/m/latest"}
    assert (one.store.root / "manifests/registry.test/a/m/latest").read_bytes() == model
    for digest, data in rogue.blobs.items():
        path = one.store.root / "blobs" / f"sha256-{digest[7:]}"
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o644


async def test_blobs_come_in_ranges_and_once(
    bench: Callable[..., Any], rogue: Rogue, model: bytes
) -> None:
    """A large blob comes in parts over several connections, no byte of it twice."""
    one = await bench()
    await one.pull(NAME)
    ranged = [call for call in rogue.seen if digest_of(WEIGHTS) in call.path]

    assert len(ranged) == len(parts.plan(len(WEIGHTS))) > 4
    assert rogue.served == sum(map(len, rogue.blobs.values()))


async def test_a_second_pull_asks_for_the_manifest_alone(
    bench: Callable[..., Any], rogue: Rogue, model: bytes
) -> None:
    """Blobs that are there are one complete line each."""
    one = await bench()
    await one.pull(NAME)
    rogue.seen.clear()
    await one.pull(NAME)

    assert [call.path for call in rogue.seen] == ["/v2/a/m/manifests/latest"]
    assert [line.completed for line in one.lines if line.digest == digest_of(WEIGHTS)] == [300_000]


async def test_a_registry_without_ranges_will_do(
    bench: Callable[..., Any], rogue: Rogue, model: bytes
) -> None:
    """Whole answers are taken where ranges are not served."""
    rogue.ranges = False
    one = await bench()
    await one.pull(NAME)

    assert one.store.find(NAME).digest == hashlib.sha256(model).hexdigest()


async def test_redirects_to_storage_are_followed_once(
    bench: Callable[..., Any], rogue: Rogue, world: World, model: bytes
) -> None:
    """Where a blob's redirect leads is asked directly from then on, without the token."""
    storage = Rogue()
    storage.blobs = rogue.blobs
    world.add("storage.test", storage, OTHER)

    async def lead(stream: trio.abc.Stream, call: Call) -> None:
        await redirect(f"http://storage.test/x/{call.path.rpartition('/')[2]}?sig=1")(stream, call)

    rogue.traps["/blobs/"] = lead
    one = await bench(max_transfer_streams=1)
    await one.pull(NAME)

    asked = [call.path for call in rogue.seen if "/blobs/" in call.path]
    assert len(asked) == len(rogue.blobs)
    assert len(storage.seen) > len(rogue.blobs)
    assert not any("authorization" in call.headers for call in storage.seen)


async def test_an_unknown_model_is_told_in_ollamas_words(bench: Callable[..., Any]) -> None:
    """The well-known text, and nothing in the store."""
    one = await bench()
    with pytest.raises(Missing, match=r"^pull model manifest: file does not exist$"):
        await one.pull("registry.test/a/absent")
    assert one.files() == set()


async def test_a_changed_tag_drops_what_only_the_old_one_needed(
    bench: Callable[..., Any], rogue: Rogue, model: bytes
) -> None:
    """The blobs of the replaced manifest go, unless told otherwise; shared ones stay."""
    one = await bench()
    await one.pull(NAME)
    rogue.put("a/m", b"new weights", SYSTEM)
    statuses = await one.pull(NAME)

    assert "removing unused layers" in statuses
    assert f"blobs/sha256-{digest_of(WEIGHTS)[7:]}" not in one.files()
    assert f"blobs/sha256-{digest_of(SYSTEM)[7:]}" in one.files()


async def test_noprune_keeps_them(bench: Callable[..., Any], rogue: Rogue, model: bytes) -> None:
    """OLLAMA_NOPRUNE: nothing goes and nothing is said of it."""
    one = await bench(noprune=True)
    await one.pull(NAME)
    rogue.put("a/m", b"new weights", SYSTEM)
    statuses = await one.pull(NAME)

    assert "removing unused layers" not in statuses
    assert f"blobs/sha256-{digest_of(WEIGHTS)[7:]}" in one.files()


async def test_a_pinned_name_is_pulled_by_its_digest(
    bench: Callable[..., Any], rogue: Rogue, model: bytes
) -> None:
    """``name@sha256:…`` asks for that manifest, and takes no other."""
    pin = digest_of(model)
    rogue.manifests[f"a/m/manifests/{pin}"] = model
    one = await bench()
    await one.pull(f"{NAME}@{pin}")
    assert rogue.seen[0].path == f"/v2/a/m/manifests/{pin}"

    rogue.manifests[f"a/m/manifests/{pin}"] = rogue.put("a/n", b"another")
    with pytest.raises(RegistryError, match="the registry's is not"):
        await one.pull(f"{NAME}@{pin}")


async def test_two_who_want_the_same_share_one_download(
    bench: Callable[..., Any], rogue: Rogue, model: bytes
) -> None:
    """Each byte is fetched once, however many ask; both see progress and success."""
    one = await bench()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one.pull, NAME)

    assert rogue.served == sum(map(len, rogue.blobs.values()))
    assert sum(line.status == "success" for line in one.lines) >= 1


async def test_who_leaves_does_not_end_the_download_of_others(
    bench: Callable[..., Any], rogue: Rogue, model: bytes
) -> None:
    """A download ends with the last one who waits for it, and not before."""
    one = await bench()
    half = trio.Event()
    go = trio.Event()

    async def pace(count: int) -> None:
        if rogue.served > 100_000:
            half.set()
            await go.wait()

    rogue.pace = pace
    async with trio.open_nursery() as nursery:
        first = await nursery.start(_cancellable, one)
        second = await nursery.start(_cancellable, one)
        await half.wait()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked(0.05)
        go.set()
        rogue.pace = None
    assert not second.cancelled_caught
    assert one.store.find(NAME)


async def test_a_download_nobody_waits_for_stops_and_is_resumed(
    bench: Callable[..., Any], rogue: Rogue, model: bytes
) -> None:
    """A hang-up leaves parts and their records; the next pull fetches the rest alone."""
    one = await bench()
    half = trio.Event()

    async def pace(count: int) -> None:
        if rogue.served > 200_000:
            half.set()
            await trio.sleep_forever()

    rogue.pace = pace
    async with trio.open_nursery() as nursery:
        scope = await nursery.start(_cancellable, one)
        await half.wait()
        scope.cancel()
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert any(name.endswith("-partial") for name in one.files())

    rogue.pace, rogue.served = None, 0
    await one.pull(NAME)
    assert rogue.served < len(WEIGHTS)
    assert not any("partial" in name for name in one.files())


async def _cancellable(one: Any, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await one.pull(NAME)


async def test_a_full_disk_is_told_before_anything_is_fetched(
    bench: Callable[..., Any], rogue: Rogue, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot fit is not begun."""
    one = await bench()

    def no_room(size: int) -> None:
        raise StoreFull("full")

    monkeypatch.setattr(one.store.blobs, "require_room", no_room)
    with pytest.raises(StoreFull):
        await one.pull(NAME)
    assert rogue.served == 0


async def test_offline_means_no_connection(
    bench: Callable[..., Any], world: World, model: bytes
) -> None:
    """The setting forbids even the first look."""
    one = await bench(offline=True)
    with pytest.raises(Offline):
        await one.pull(NAME)
    assert world.connections == []


async def test_a_mirror_is_asked_first_and_the_registry_behind_it(
    bench: Callable[..., Any], rogue: Rogue, world: World, model: bytes
) -> None:
    """A model comes from a mirror under its own name; what the mirror lacks, from the registry."""
    from trillama.base.registries import parse_registry

    mirror = Rogue()
    mirror.put("a/m", b"the mirror's")
    world.add("mirror.test", mirror, "10.0.0.9", port=5000)
    entry = parse_registry("registry.test=http://mirror.test:5000")
    one = await bench(registries=(entry,))
    await one.pull(NAME)
    assert rogue.seen == []
    assert one.store.find(NAME).size > 0

    mirror.manifests.clear()
    statuses = await one.pull(NAME)
    assert any("mirror.test:5000 cannot give it" in status for status in statuses)
    assert one.store.find(NAME).digest == hashlib.sha256(model).hexdigest()


async def test_urls_are_listed_without_fetching(
    bench: Callable[..., Any], rogue: Rogue, model: bytes
) -> None:
    """For those who fetch by other means."""
    from trillama.base.names import parse_reference
    from trillama.models.registry.pull import PullRequest

    one = await bench()
    urls = await one.puller.urls(PullRequest(parse_reference(NAME), insecure=True))

    assert urls[0] == (
        digest_of(WEIGHTS),
        f"http://registry.test/v2/a/m/blobs/{digest_of(WEIGHTS)}",
    )
    assert rogue.served == 0
    assert one.files() == set()


async def test_a_damaged_blob_in_the_store_is_fetched_again(
    bench: Callable[..., Any], rogue: Rogue, model: bytes, tmp_path: Path
) -> None:
    """A file of the wrong size does not count as the blob."""
    one = await bench()
    await one.pull(NAME)
    path = one.store.root / "blobs" / f"sha256-{digest_of(WEIGHTS)[7:]}"
    path.write_bytes(WEIGHTS[:1000])
    await one.pull(NAME)

    assert path.read_bytes() == WEIGHTS
