"""What of the blobs folder nobody needs, and taking it away.

Ollama's rules (server/images.go): a model that is deleted or replaced takes the blobs with it that
no other manifest names; at the start of a server everything unreferenced goes that is older than an
hour. Nothing is removed while a manifest is unreadable, because it may name any blob.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import structlog

from trillama.base.errors import CorruptModel, NotFound, TrillamaError
from trillama.base.names import Digest
from trillama.blobs import BlobStore, translated

from .holds import Holds
from .manifest import Manifest
from .tree import ManifestTree, is_name

log = structlog.get_logger(__name__)

GRACE = 3600.0
"""Seconds for which a blob that no manifest names is left alone: an upload, before its create."""

PARTIAL_GRACE = 7 * 24 * 3600.0
"""The same for what a broken-off pull has fetched, so that it can go on after a weekend."""

TEMPORARY = ".trillama-"
"""How the names of small files begin that are being written; see ``blobs/durable.py``."""


def digests_of(manifest: Manifest) -> set[Digest]:
    """Every blob a manifest names."""
    layers = (manifest.config, *(manifest.layers or ()))
    return {layer.blob for layer in layers if layer.digest}


def referenced(tree: ManifestTree) -> set[Digest]:
    """Every blob that any manifest names.

    Raises:
        CorruptModel: a file is no manifest, so what it needs is not known.
    """
    found: set[Digest] = set()
    for path in tree.files():
        if not is_name(path):
            continue  # a file of somebody else's: no name leads to it
        try:
            found |= digests_of(tree.read(path).manifest)
        except NotFound:
            continue  # deleted since it was listed
        except CorruptModel as error:
            where = os.path.relpath(path, tree.folder.parent)
            raise CorruptModel(f"{where}: {error.message}") from None
    return found


def remove_unreferenced(
    candidates: Iterable[Digest], tree: ManifestTree, blobs: BlobStore, holds: Holds
) -> list[Digest]:
    """Remove those of ``candidates`` that no manifest names and nobody holds.

    The caller keeps manifests from being written meanwhile.

    Returns:
        what was removed; nothing when a manifest is unreadable.
    """
    wanted = set(candidates)
    if not wanted:
        return []
    try:
        wanted -= referenced(tree)
    except TrillamaError as error:
        log.warning("nothing pruned: a manifest is unreadable", reason=error.message)
        return []
    return [one for one in sorted(wanted) if holds.if_free(one, blobs.remove)]


class Stale(msgspec.Struct, frozen=True):
    """A file that nobody needs any more.

    Attributes:
        file: its path below the models folder.
        kind: "blob", "download" for what a broken-off pull left, "temporary" for the rest.
        size: bytes that its removal frees; 0 where the data is somebody else's file too.
    """

    file: str
    kind: str
    size: int


def remove_stale(
    tree: ManifestTree,
    blobs: BlobStore,
    holds: Holds,
    *,
    partial_grace: float = PARTIAL_GRACE,
    dry_run: bool = False,
) -> list[Stale]:
    """Remove what is older than the grace: unreferenced blobs, and whatever is no blob at all.

    Args:
        partial_grace: seconds for which what a broken-off pull left is kept.
        dry_run: only look.

    Returns:
        what was removed, or would be.

    Raises:
        CorruptModel: a manifest is unreadable, and may need any blob.
        StoreError: the folder cannot be listed.
    """
    needed = referenced(tree)
    removed = []
    for entry in _candidates(tree, blobs):
        digest = Digest.of_file(entry.name)
        if digest and (digest in needed or digest in holds):
            continue
        found = _stale(entry, tree.folder.parent, partial_grace)
        if found and (dry_run or _take_away(entry, digest, holds)):
            removed.append(found)
    return removed


def mend_names(blobs: BlobStore) -> int:
    """Give blobs the names they have today; those of the oldest stores have a colon.

    Returns:
        the number of files renamed.
    """
    old = [entry for entry in blobs.entries() if entry.name.startswith("sha256:")]
    count = 0
    for entry in old:
        target = blobs.folder / entry.name.replace(":", "-", 1)
        if not target.exists():
            with translated("rename", target):
                os.rename(entry.path, target)
            count += 1
    return count


def _candidates(tree: ManifestTree, blobs: BlobStore) -> Iterator[os.DirEntry[str]]:
    """All of the blobs folder, and what broken-off writing left in the others."""
    yield from blobs.entries()
    root = tree.folder.parent
    for folder in (root, tree.folder, root / "references"):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            yield from [one for one in entries if one.name.startswith(TEMPORARY)]


def _stale(entry: os.DirEntry[str], root: Path, partial_grace: float) -> Stale | None:
    try:
        facts = os.lstat(entry.path)
    except OSError:
        return None
    partial = "-partial" in entry.name
    # The time of a hard link is its owner's; when the link was made is in the other one.
    born = facts.st_ctime if facts.st_nlink > 1 else facts.st_mtime
    young = time.time() - born < (partial_grace if partial else GRACE)
    if young or stat.S_ISDIR(facts.st_mode):
        return None
    own = stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1
    # Of a download there is less on the disk than its length says.
    size = min(facts.st_size, facts.st_blocks * 512) if partial else facts.st_size
    kind = "download" if partial else "blob" if Digest.of_file(entry.name) else "temporary"
    return Stale(os.path.relpath(entry.path, root), kind, size if own else 0)


def _take_away(entry: os.DirEntry[str], digest: Digest | None, holds: Holds) -> bool:
    try:
        if digest:
            return holds.if_free(digest, lambda _: _unlink(entry.path))
        with _unused(entry) as free:
            return free and _unlink(entry.path)
    except OSError as error:
        log.warning("stale file not removed", file=entry.name, reason=error.strerror)
        return False


def _unlink(path: str) -> bool:
    os.unlink(path)
    return True


@contextlib.contextmanager
def _unused(entry: os.DirEntry[str]) -> Iterator[bool]:
    """Whether no pull of another process works on a download; none can begin meanwhile."""
    data, partial, _ = entry.path.partition("-partial")
    try:
        descriptor = os.open(data + partial, os.O_RDONLY | os.O_CLOEXEC) if partial else -1
    except FileNotFoundError:
        descriptor = -1  # a record without its data
    try:
        if descriptor >= 0:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        if descriptor >= 0:
            os.close(descriptor)
