"""Kills a process in the middle of work on a store, at every call that changes the disk in turn.

Run as a program, because it forks: ``python -m tests.support.crashes FOLDER``. For each moment it
makes a store, forks, and lets the child work until its n-th such call, where it is gone without a
word, as by ``kill -9`` or a lost power supply. Then it looks at what is left. It prints one JSON
object: how many moments there were in each piece of work, and what was wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.gguf_bytes import small_model
from trillama.base.errors import CorruptModel, TrillamaError
from trillama.base.names import Digest, parse_name
from trillama.blobs import Stage
from trillama.models.create import Recipe, create
from trillama.models.pruning import digests_of
from trillama.models.store import ModelStore

CHANGES = ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir", "link", "symlink", "utime")
OLD, NEW = small_model(), small_model(llama__context_length=64)


def quiet(line: object) -> None:
    """Nobody listens."""


def fill(store: ModelStore) -> None:
    """Two models that share their weights, and an upload."""
    old = store.blobs.publish_bytes(OLD)
    create(store, Recipe(name=parse_name("a"), files={"w.gguf": old}, system="a"), quiet)
    create(store, Recipe(name=parse_name("b"), files={"w.gguf": old}, system="b"), quiet)
    store.blobs.publish_bytes(NEW)


def creates(store: ModelStore) -> None:
    """A new model."""
    new = {"w.gguf": Digest(f"sha256:{hashlib.sha256(NEW).hexdigest()}")}
    create(store, Recipe(name=parse_name("c"), files=new, system="c", licenses=("MIT",)), quiet)


def replaces(store: ModelStore) -> None:
    """A model in place of another."""
    new = {"w.gguf": Digest(f"sha256:{hashlib.sha256(NEW).hexdigest()}")}
    create(store, Recipe(name=parse_name("a"), files=new, system="new"), quiet)


def copies(store: ModelStore) -> None:
    """A copy over another model."""
    store.copy(parse_name("a"), parse_name("b"))


def deletes(store: ModelStore) -> None:
    """One of two that share their weights."""
    store.delete(parse_name("a"))


WORK: tuple[Callable[[ModelStore], None], ...] = (creates, replaces, copies, deletes)


def die_at(moment: int) -> None:
    """Kill this process before the ``moment``-th change to the disk, half-way through a write."""
    left = [moment]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            count()
            return real(*args, **kwargs)

        return call

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))
    write = Stage.write

    def half(stage: Stage, data: bytes) -> None:
        middle = len(data) // 2
        write(stage, data[:middle])
        count()
        write(stage, data[middle:])

    Stage.write = half  # type: ignore[method-assign]


def finished(root: Path, work: Callable[[ModelStore], None], moment: int) -> bool:
    """Whether the work came to its end before it was killed."""
    child = os.fork()
    if child == 0:
        store = ModelStore(root)
        die_at(moment)
        work(store)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def damage(root: Path) -> list[str]:
    """What is wrong with a store; temporary files, which a start clears away, are not."""
    store = ModelStore(root)
    found = []
    for path in store.tree.files():
        if Path(path).name.startswith("."):
            continue
        try:
            needed = digests_of(store.tree.read(path).manifest)
        except CorruptModel as error:
            found.append(f"{path}: {error.message}")
            continue
        found += [f"{path}: {one} is missing" for one in needed if not store.blobs.exists(one)]
    for entry in store.blobs.entries():
        digest = Digest.of_file(entry.name)
        if digest:
            data = Path(entry.path).read_bytes()
            if digest.hex != hashlib.sha256(data).hexdigest():
                found.append(f"{entry.name} is not what its name says")
    names = {one.name.short: one.system for one in store.installed()}
    if names.get("b:latest", "b") not in ("b", "a"):
        found.append(f"b has become something else: {names}")
    try:
        creates(store)
    except TrillamaError as error:
        found.append(f"nothing can be made any more: {error.message}")
    return found


def main(folder: Path) -> None:
    """Every piece of work, killed at every moment."""
    report: dict[str, Any] = {"damage": []}
    fill(ModelStore(folder / "whole"))
    for work in WORK:
        for moment in range(1000):
            root = folder / "store"
            shutil.copytree(folder / "whole", root)
            over = finished(root, work, moment)
            report["damage"] += [f"{work.__name__} at {moment}: {one}" for one in damage(root)]
            shutil.rmtree(root)
            if over:
                report[work.__name__] = moment
                break
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
