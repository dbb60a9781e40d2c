"""``fsck``: whether every manifest can be read and every blob is what its name says.

A repair deletes nothing. What is damaged is moved into the folder ``quarantine/``, so that a pull
fetches it again and a prune is possible again; what cannot be read for want of permission, or only
contradicts its manifest, is reported and left.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from trillama.base.errors import CorruptModel, NotFound, TrillamaError
from trillama.base.names import Digest
from trillama.blobs import CHUNK, make_folder, sync_folder, translated

from ..manifest import CONFIG_CAP, CONFIG_TYPE, Layer, parse_config
from ..store import ModelStore
from ..tree import Found, is_name

QUARANTINE = "quarantine"
Advance = Callable[[int], None]
"""Hears how many more bytes have been read."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong.

    Attributes:
        kind: "manifest damaged", "blob missing", "blob damaged", "blob unreadable",
            "blob not allowed", "size differs", "config damaged", "manifest unreadable".
        file: path below the models folder.
        models: who needs it.
        reason: in words.
        moved: where a repair has put it; "" where it is as it was.
    """

    kind: str
    file: str
    models: tuple[str, ...] = ()
    reason: str = ""
    moved: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a check has found; ``size`` in bytes."""

    manifests: int
    blobs: int
    size: int
    problems: tuple[Problem, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def mended(self) -> bool:
        """Whether all that is wrong has been put aside; what is missing comes by a pull."""
        return all(one.moved or one.kind == "blob missing" for one in self.problems)


def _silent(count: int) -> None:
    """Nobody watches."""


def check_store(store: ModelStore, *, repair: bool = False, advance: Advance = _silent) -> Report:
    """Read everything.

    Raises:
        StoreError: the store cannot be listed, or what is damaged cannot be moved.
    """
    problems: list[Problem] = []
    manifests = _manifests(store, problems, repair=repair)
    needs = _layers(manifests)
    blobs = _blobs(store)
    damaged: set[Digest] = set()
    for digest in blobs:
        problem = _check_blob(store, digest, advance)
        if problem:
            moved = _repaired(store, digest, problem) if repair else ""
            who = _who(needs.get(digest, []))
            problems.append(msgspec.structs.replace(problem, models=who, moved=moved))
            damaged.add(digest)
    for digest in needs.keys() - damaged:
        problems += _check_layer(store, digest, needs[digest])
    return Report(
        manifests=len(manifests),
        blobs=len(blobs),
        size=sum(blobs.values()),
        problems=tuple(sorted(problems, key=lambda one: (one.kind, one.file))),
    )


_Needs = dict[Digest, list[tuple[Found, Layer]]]


def _layers(manifests: list[Found]) -> _Needs:
    needs: _Needs = defaultdict(list)
    for found in manifests:
        for layer in (found.manifest.config, *(found.manifest.layers or ())):
            if layer.digest:
                needs[layer.blob].append((found, layer))
    return needs


def _who(users: list[tuple[Found, Layer]]) -> tuple[str, ...]:
    return tuple(sorted({found.name.short for found, _ in users}))


def _manifests(store: ModelStore, problems: list[Problem], *, repair: bool) -> list[Found]:
    good = []
    for path in list(filter(is_name, store.tree.files())):
        try:
            good.append(store.tree.read(path))
        except NotFound:
            continue  # deleted since it was listed
        except CorruptModel as error:
            moved = _manifest_aside(store, path) if repair else ""
            problems.append(_problem(store, "manifest damaged", path, error, moved))
        except TrillamaError as error:
            problems.append(_problem(store, "manifest unreadable", path, error))
    return good


def _manifest_aside(store: ModelStore, path: str) -> str:
    with store.lock:
        try:
            store.tree.read(path)
        except CorruptModel:
            return _put_aside(store, Path(path))
    return "nowhere: it has been replaced"


def _problem(
    store: ModelStore, kind: str, path: str | Path, error: TrillamaError, moved: str = ""
) -> Problem:
    file = os.path.relpath(path, store.root)
    return Problem(kind=kind, file=file, reason=error.message, moved=moved)


def _blobs(store: ModelStore) -> dict[Digest, int]:
    """All whole blobs with their sizes, also those that nobody needs and that lead nowhere."""
    found = {}
    for entry in store.blobs.entries():
        if digest := Digest.of_file(entry.name):
            try:
                found[digest] = os.stat(entry.path).st_size
            except OSError:
                found[digest] = 0
    return found


def _check_blob(store: ModelStore, digest: Digest, advance: Advance) -> Problem | None:
    path = store.blobs.path(digest)
    file = os.path.relpath(path, store.root)
    try:
        before = _stamp(path)
        if _hash(path, advance) == digest or _stamp(path) != before:
            return None  # sound, or replaced while it was read
    except FileNotFoundError:
        return None  # gone; whoever needs it misses it below
    except PermissionError as error:
        return Problem(kind="blob not allowed", file=file, reason=error.strerror or "")
    except OSError as error:
        return Problem(kind="blob unreadable", file=file, reason=error.strerror or "")
    return Problem(kind="blob damaged", file=file, reason="its content has another digest")


def _repaired(store: ModelStore, digest: Digest, problem: Problem) -> str:
    if problem.kind == "blob not allowed":
        return ""
    with store.lock:
        moved = _put_aside(store, store.blobs.path(digest))
    store.references.forget(digest)
    return moved


def _stamp(path: Path) -> tuple[int, int, int]:
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _hash(path: Path, advance: Advance) -> str:
    found = hashlib.sha256()
    # O_NONBLOCK: opening a pipe must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        while data := os.read(descriptor, CHUNK):
            found.update(data)
            advance(len(data))
    finally:
        os.close(descriptor)
    return f"sha256:{found.hexdigest()}"


def _check_layer(
    store: ModelStore, digest: Digest, users: list[tuple[Found, Layer]]
) -> Iterator[Problem]:
    """What manifests say of a blob that is not damaged itself."""
    path = store.blobs.path(digest)
    file, models = os.path.relpath(path, store.root), _who(users)
    try:
        size = store.blobs.size(digest)
    except NotFound:
        users = [one for one in users if _still_there(store, one[0])]
        if users:
            yield Problem(
                kind="blob missing", file=file, models=_who(users), reason="pull the model again"
            )
        return
    except TrillamaError:
        return  # told already
    if wrong := sorted({layer.size for _, layer in users} - {size}):
        reason = f"it has {size} bytes, but a manifest says {wrong[0]}"
        yield Problem(kind="size differs", file=file, models=models, reason=reason)
    if any(layer.media_type == CONFIG_TYPE for _, layer in users):
        try:
            parse_config(store.blobs.read_bytes(digest, CONFIG_CAP))
        except TrillamaError as error:
            yield Problem(kind="config damaged", file=file, models=models, reason=error.message)


def _still_there(store: ModelStore, found: Found) -> bool:
    """Whether the manifest is the one that was read: a model may have gone with its blobs."""
    path = store.tree.spelled(found.name)
    try:
        return path is not None and store.tree.read(path).digest == found.digest
    except TrillamaError:
        return False


def _put_aside(store: ModelStore, path: Path) -> str:
    """Move a file into the quarantine; where it is now, below the models folder. The caller has
    the lock.

    Raises:
        NotFound, StoreFull, StoreError.
    """
    folder = store.root / QUARANTINE
    target = folder / f"{path.name}-{secrets.token_hex(4)}"
    with translated("move", path):
        make_folder(folder)
        os.rename(path, target)
        sync_folder(folder)
        sync_folder(path.parent)
    return os.path.relpath(target, store.root)
