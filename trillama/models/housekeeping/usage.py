"""What the models cost on the disk: each alone, what they share, and what nobody needs."""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path

import msgspec

from trillama.base.errors import NotFound, TrillamaError
from trillama.base.names import Digest, ModelName

from ..pruning import digests_of
from ..store import ModelStore
from ..tree import is_name
from .check import QUARANTINE


class ModelUsage(msgspec.Struct, frozen=True):
    """The bytes of one model.

    Attributes:
        size: all its blobs, each once.
        own: what its removal would free.
        shared: blobs that another model needs too.
        elsewhere: blobs that are also somebody's own file, so that the store adds nothing.
        missing: blobs that are not there.
    """

    name: str
    size: int
    own: int
    shared: int
    elsewhere: int
    missing: int


class Usage(msgspec.Struct, frozen=True):
    """A whole store.

    Attributes:
        models: in the order of their names.
        total: bytes of the blobs that models need, each once, without what lies elsewhere.
        unreferenced: bytes of blobs no manifest names.
        downloads: bytes that pulls in progress or broken off have fetched.
        quarantined: bytes that a repair has put aside.
        unreadable: manifests that could not be read, so that their blobs look unreferenced.
    """

    models: tuple[ModelUsage, ...]
    total: int
    unreferenced: int
    downloads: int
    quarantined: int
    unreadable: tuple[str, ...]


class _File(msgspec.Struct, frozen=True):
    size: int
    elsewhere: bool


def disk_usage(store: ModelStore) -> Usage:
    """Add up a store.

    Raises:
        StoreError: it cannot be listed.
    """
    needs, unreadable = _needs(store)
    counts = Counter(digest for digests in needs.values() for digest in digests)
    blobs, downloads = _files(store)
    needed = [blobs[one] for one in counts if one in blobs]
    return Usage(
        models=tuple(_usage(name, needs[name], blobs, counts) for name in sorted(needs)),
        total=sum(one.size for one in needed if not one.elsewhere),
        unreferenced=sum(
            one.size for key, one in blobs.items() if key not in counts and not one.elsewhere
        ),
        downloads=downloads,
        quarantined=_folder_size(store.root / QUARANTINE),
        unreadable=tuple(unreadable),
    )


def _needs(store: ModelStore) -> tuple[dict[ModelName, set[Digest]], list[str]]:
    needs: dict[ModelName, set[Digest]] = {}
    unreadable = []
    for path in filter(is_name, store.tree.files()):
        try:
            found = store.tree.read(path)
            needs[found.name] = digests_of(found.manifest)
        except NotFound:
            continue  # deleted since it was listed
        except TrillamaError:
            unreadable.append(os.path.relpath(path, store.root))
    return needs, unreadable


def _files(store: ModelStore) -> tuple[dict[Digest, _File], int]:
    blobs: dict[Digest, _File] = {}
    downloads = 0
    for entry in store.blobs.entries():
        try:
            link, facts = os.lstat(entry.path), os.stat(entry.path)
        except OSError:
            continue
        if digest := Digest.of_file(entry.name):
            blobs[digest] = _File(facts.st_size, stat.S_ISLNK(link.st_mode) or link.st_nlink > 1)
        elif "-partial" in entry.name:
            downloads += min(facts.st_size, facts.st_blocks * 512)
    return blobs, downloads


def _usage(
    name: ModelName, digests: set[Digest], blobs: dict[Digest, _File], counts: Counter[Digest]
) -> ModelUsage:
    there = {digest: blobs[digest] for digest in digests if digest in blobs}
    own = [one for digest, one in there.items() if counts[digest] == 1 and not one.elsewhere]
    shared = [digest for digest in there if counts[digest] > 1]
    return ModelUsage(
        name=name.short,
        size=sum(one.size for one in there.values()),
        own=sum(one.size for one in own),
        shared=sum(there[digest].size for digest in shared),
        elsewhere=sum(one.size for one in there.values() if one.elsewhere),
        missing=len(digests) - len(there),
    )


def _folder_size(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    with os.scandir(folder) as entries:
        return sum(one.stat(follow_symlinks=False).st_size for one in entries)
