"""A disk that fails in the middle of a pull, and a process that is killed in it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support import docker_registry
from tests.support.docker_registry import DockerRegistry
from tests.support.pulling import Bench
from tests.support.rogue import Rogue, World
from tests.support.stores import manifest_path, put
from trillama.base.errors import StoreError, StoreFull
from trillama.models.manifest import MODEL, Config
from trillama.models.registry import parts
from trillama.models.registry.push import Pusher
from trillama.models.store import ModelStore

OLD, SHARED, NEW = os.urandom(5_000), b"Be brief.", os.urandom(70_000)
NAME = "registry.test/a/m"
BY_PATH = ("open", "replace", "link", "mkdir")
BY_FILE = ("pwrite", "pwritev", "fsync", "fdatasync", "ftruncate")


class Faults:
    """Makes the n-th call that changes the store fail, and counts them."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.left = -1
        self.code = 0
        for name in BY_PATH:
            patch.setattr(os, name, self._failing(getattr(os, name), str(root)))
        for name in BY_FILE:
            patch.setattr(os, name, self._failing(getattr(os, name), ""))
        patch.setattr(Path, "open", self._failing(Path.open, str(root)))

    def _failing(self, real: Callable[..., Any], root: str) -> Callable[..., Any]:
        def call(first: Any, *args: Any, **options: Any) -> Any:
            if not root or str(first).startswith(root):
                self.left -= 1
                if self.left == 0:
                    raise OSError(self.code, os.strerror(self.code))
            return real(first, *args, **options)

        return call


def check(store: ModelStore, old: bytes) -> None:
    """Everything that was whole is whole, and nothing that is not looks so."""
    assert manifest_path(store, "registry.test/a/old").read_bytes() == old
    assert store.find("registry.test/a/old")
    for path in (store.root / "blobs").iterdir():
        if len(path.name) == len("sha256-") + 64:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name[7:]
    for model in store.installed():
        for layer in model.manifest.layers or ():
            assert store.blobs.exists(layer.blob)


@pytest.mark.parametrize(("code", "step"), [(errno.EIO, 1), (errno.ENOSPC, 4)])
async def test_any_call_may_fail(
    bench: Callable[..., Any], rogue: Rogue, world: World, nursery: trio.Nursery, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, code: int, step: int,
) -> None:  # fmt: skip
    """Whichever write, fsync, rename or open fails, the store is valid, and the next pull works."""
    monkeypatch.setattr(parts, "SMALLEST", 64 << 10)
    old = rogue.put("a/old", OLD, SHARED)
    rogue.put("a/m", NEW, SHARED)
    with monkeypatch.context() as patch:
        faults = Faults(patch, tmp_path)
        for moment in range(1, 400, step):
            root = tmp_path / str(moment)
            one = Bench(root, world, {"max_transfer_streams": 2})
            await nursery.start(one.transfers.run)
            await one.pull("registry.test/a/old")
            faults.left, faults.code = moment, code
            try:
                await one.pull(NAME)
            except (StoreError, StoreFull):
                check(one.store, old)
                faults.left = -1
                await one.pull(NAME)
            whole, faults.left = faults.left > 0, -1
            check(one.store, old)
            assert one.store.find(NAME)
            assert not any("partial" in file for file in one.files())
            if whole:
                assert moment > 15, "there were fewer calls than there must be"
                return
    raise AssertionError("it never came to its end")


def kill_and_pull(
    registry: DockerRegistry, root: Path, name: str, kills: list[float]
) -> tuple[int, str]:
    """Kill a pull after each of these seconds, then let one end; returns kills that hit."""
    hit = 0
    command = [sys.executable, "-m", "tests.support.one_pull", str(root), name]
    for seconds in kills:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout
        process.stdout.readline()  # it is there, and begins
        if seconds > 0.1:
            process.stdout.readline()  # bytes come
        time.sleep(seconds)
        hit += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return hit, done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A registry of the real kind, on loopback."""
    if docker_registry.missing():
        pytest.skip(docker_registry.missing())
    one = DockerRegistry(tmp_path_factory.mktemp("registry"))
    yield one
    one.close()


async def publish(registry: DockerRegistry, folder: Path, weights: bytes) -> str:
    """Push a model; returns its name."""
    from trillama.base.names import parse_reference
    from trillama.base.settings import Settings
    from trillama.models.registry.pull import PullRequest
    from trillama.models.registry.transfers import Transfers

    name = f"{registry.host}/a/{folder.name}".lower()
    store = ModelStore(folder / "origin")
    put(store, name, (MODEL, weights), (MODEL, b"small"), config=Config(model_format="gguf"))
    pusher = Pusher(store, Transfers(store.blobs, Settings(identity=str(folder / "key"))))
    await pusher.push(PullRequest(parse_reference(name), insecure=True), lambda line: None)
    return name


async def pull_through_kills(
    registry: DockerRegistry, tmp_path: Path, size: int, kills: list[float]
) -> tuple[int, int]:
    """Returns the kills that hit and the bytes that came for the last pull.

    No kill may have cost more than one part fetched again.
    """
    weights = os.urandom(size)
    name = await publish(registry, tmp_path, weights)
    root = tmp_path / "models"
    hit, told = await trio.to_thread.run_sync(kill_and_pull, registry, root, name, kills)

    (blob,) = [path for path in (root / "blobs").iterdir() if path.stat().st_size == size]
    assert blob.read_bytes() == weights
    assert blob.name == f"sha256-{hashlib.sha256(weights).hexdigest()}"
    assert manifest_path(ModelStore(root), name).exists()
    assert not [path for path in (root / "blobs").iterdir() if "partial" in path.name]
    tally = (tmp_path / "fetched").read_bytes()
    again = sum(count for (count,) in struct.iter_unpack("<Q", tally)) - size
    print(f"{hit} kills, {again} of {size} bytes fetched again")  # noqa: T201
    assert again <= hit * max(part.size for part in parts.plan(size)) + len(b"small") * (hit + 2)
    return hit, json.loads(told)["fetched"]


async def test_a_pull_survives_kills(registry: DockerRegistry, tmp_path: Path) -> None:
    """Killed a few times in the middle, a pull goes on where it was and ends verified."""
    choose = random.Random(1)
    kills = [0.05, *(choose.uniform(0.1, 0.6) for _ in range(2))]
    size = 100 << 20
    hit, fetched = await pull_through_kills(registry, tmp_path, size, kills)

    assert hit >= 2
    assert fetched < size, "it began anew"


@pytest.mark.slow
async def test_a_pull_survives_fifty_kills(registry: DockerRegistry, tmp_path: Path) -> None:
    """The same at fifty moments."""
    choose = random.Random(2)
    kills = [choose.uniform(0.0, 0.5) for _ in range(50)]
    hit, _ = await pull_through_kills(registry, tmp_path, 1 << 30, kills)

    assert hit > 40
