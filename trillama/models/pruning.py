"""What of the blobs folder nobody needs, and taking it away.

Ollama's rules (server/images.go): a model that is deleted or replaced takes the blobs with it that
no other manifest names; at the start of a server everything unreferenced goes that is older than an
hour. Nothing is removed while a manifest is unreadable, because it may name any blob.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

import structlog

from trillama.base.errors import NotFound, TrillamaError
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


def remove_stale(tree: ManifestTree, blobs: BlobStore, holds: Holds) -> int:
    """Remove what is older than the grace: unreferenced blobs, and whatever is no blob at all.

    Returns:
        the number of files removed.
    """
    try:
        needed = referenced(tree)
    except TrillamaError as error:
        log.warning("nothing pruned: a manifest is unreadable", reason=error.message)
        return 0

    def needless(name: str) -> bool:
        digest = Digest.of_file(name)
        return digest is None or (digest not in needed and digest not in holds)

    return _remove_old(blobs, needless)


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


def _remove_old(blobs: BlobStore, needless: Callable[[str], bool]) -> int:
    now = time.time()
    count = 0
    for entry in blobs.entries():
        age = now - entry.stat(follow_symlinks=False).st_mtime
        young = age < (PARTIAL_GRACE if "-partial" in entry.name else GRACE)
        if young or entry.is_dir(follow_symlinks=False) or not needless(entry.name):
            continue
        try:
            os.unlink(entry.path)
            count += 1
        except OSError as error:
            log.warning("stale file not removed", file=entry.name, reason=error.strerror)
    return count
