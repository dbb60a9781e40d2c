"""Trouble in the middle of work on a store, at every call that changes the disk in turn.

Run as a program, because it forks: ``python -m tests.support.crashes FOLDER TROUBLE``. For each
moment it makes a store, forks, and lets the child work until its n-th such call, which kills it
without a word, as ``kill -9`` does, or fails as a full or a broken disk does. Then it looks at what
is left. It prints one JSON object: how many moments there were in each piece of work, and what was
wrong.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import tarfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.gguf_bytes import small_model
from tests.support.stores import put
from trillama.base.errors import TrillamaError
from trillama.base.names import Digest, parse_name
from trillama.models import manifest as media
from trillama.models.create import Recipe, create
from trillama.models.housekeeping.check import check_store
from trillama.models.housekeeping.take_in import Wish, import_archive
from trillama.models.manifest import Config
from trillama.models.store import ModelStore

CHANGES = (
    *("open", "fsync", "replace", "rename", "unlink", "rmdir", "mkdir", "link", "symlink"),
    "utime",
)
OLD, NEW = small_model(), small_model(llama__context_length=64)
UPLOADED = Digest(f"sha256:{hashlib.sha256(NEW).hexdigest()}")
ARCHIVE = "models.tar"


def quiet(line: object) -> None:
    """Nobody listens."""


def fill(store: ModelStore) -> None:
    """Two models that share their weights, an upload, and what a prune removes; beside the store
    an archive with two more models."""
    old = store.blobs.publish_bytes(OLD)
    create(store, Recipe(name=parse_name("a"), files={"w.gguf": old}, system="a"), quiet)
    create(store, Recipe(name=parse_name("b"), files={"w.gguf": old}, system="b"), quiet)
    store.blobs.publish_bytes(NEW)
    grow_stale(store)
    origin = ModelStore(store.root.parent / "origin")
    for name in ("d", "e"):
        put(origin, name, (media.SYSTEM, name.encode()), config=Config(os="linux"))
    with tarfile.open(store.root.parent / ARCHIVE, "w", format=tarfile.GNU_FORMAT) as out:
        for folder in ("blobs", "manifests"):
            out.add(origin.root / folder, folder)


def grow_stale(store: ModelStore) -> None:
    """An orphan, half a download, and what crashes left, all of them old."""
    digest = store.blobs.publish_bytes(b"orphan")
    old = [store.blobs.path(digest), store.root / "manifests" / ".trillama-1"]
    old += [store.blobs.folder / f"sha256-{'a' * 64}-partial{end}" for end in ("", "-0", "-1")]
    for path in old:
        path.write_bytes(b"orphan")
        os.utime(path, (1, 1))


def creates(store: ModelStore) -> None:
    """A new model."""
    new = {"w.gguf": UPLOADED}
    create(store, Recipe(name=parse_name("c"), files=new, system="c", licenses=("MIT",)), quiet)


def replaces(store: ModelStore) -> None:
    """A model in place of another."""
    new = {"w.gguf": UPLOADED}
    create(store, Recipe(name=parse_name("a"), files=new, system="new"), quiet)


def copies(store: ModelStore) -> None:
    """A copy over another model."""
    store.copy(parse_name("a"), parse_name("b"))


def deletes(store: ModelStore) -> None:
    """One of two that share their weights."""
    store.delete(parse_name("a"))


def prunes(store: ModelStore) -> None:
    """What nobody needs."""
    store.sweep()


def imports(store: ModelStore) -> None:
    """The models of the archive."""
    import_archive(store, store.root.parent / ARCHIVE, Wish(), lambda count: None)


WORK: tuple[Callable[[ModelStore], None], ...] = (
    *(creates, replaces, copies, deletes),
    *(prunes, imports),
)


def kill() -> None:
    """As ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def full() -> None:
    """A full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")


def broken() -> None:
    """A broken disk."""
    raise OSError(errno.EIO, "Input/output error")


ENDS = ("untouched", "done", "told", "bug")
"""Before the trouble came, in spite of it, with an error of ours, and with another."""

TROUBLES = {trouble.__name__: trouble for trouble in (kill, full, broken)}


def trouble_at(moment: int, trouble: Callable[[], None]) -> list[int]:
    """Arrange for trouble in place of the ``moment``-th change to the disk; half a write is one.

    Returns:
        a list of how many changes there are still to come before it; negative once it was met.
    """
    left = [moment]

    def count() -> None:
        left[0] -= 1
        if left[0] == -1:
            trouble()

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            count()
            return real(*args, **kwargs)

        return call

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))
    write = io.BufferedWriter.write

    class Halved:
        """A file whose writes come in two halves, with the count between them."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> Any:
            self._file.__enter__()
            return self

        def __exit__(self, *left: Any) -> None:
            self._file.__exit__(*left)

        def write(self, data: bytes) -> int:
            middle = len(data) // 2
            write(self._file, data[:middle])
            count()
            return middle + write(self._file, data[middle:])

    real = Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "x" not in mode and "w" not in mode:
            return real(path, mode, *args, **kwargs)
        count()
        return Halved(real(path, mode, *args, **kwargs))

    Path.open = opened  # type: ignore[method-assign]
    return left


def outcome(
    root: Path, work: Callable[[ModelStore], None], moment: int, trouble: Callable[[], None]
) -> str:
    """How the work ended, one of ENDS, or "killed"."""
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return ENDS[code] if code >= 0 else "killed"
    store = ModelStore(root)
    left = trouble_at(moment, trouble)
    try:
        work(store)
    except TrillamaError:
        os._exit(ENDS.index("told"))
    except BaseException:
        traceback.print_exc()
        os._exit(ENDS.index("bug"))
    os._exit(ENDS.index("done" if left[0] < 0 else "untouched"))


def damage(root: Path) -> list[str]:
    """What is wrong with a store; temporary files, which a start clears away, are not."""
    store = ModelStore(root)
    found = []
    report = check_store(store)
    found += [f"{one.kind}: {one.file}: {one.reason}" for one in report.problems]
    if not store.blobs.exists(UPLOADED):
        found.append("the upload is lost")
    names = {one.name.short: one.system for one in store.installed()}
    if names.get("b:latest", "b") not in ("b", "a"):
        found.append(f"b has become something else: {names}")
    try:
        creates(store)
    except TrillamaError as error:
        found.append(f"nothing can be made any more: {error.message}")
    return found


def main(folder: Path, trouble: Callable[[], None]) -> None:
    """Every piece of work, with trouble at every moment."""
    report: dict[str, Any] = {"damage": []}
    fill(ModelStore(folder / "whole"))
    for work in WORK:
        for moment in range(1000):
            root = folder / "store"
            shutil.copytree(folder / "whole", root)
            end = outcome(root, work, moment, trouble)
            wrong = damage(root) + (["a bug"] if end == "bug" else [])
            report["damage"] += [f"{work.__name__} at {moment}: {one}" for one in wrong]
            report.setdefault(work.__name__, Counter())[end] += 1
            shutil.rmtree(root)
            if end == "untouched":
                break
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), TROUBLES[sys.argv[2]])
