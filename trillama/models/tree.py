"""The folder ``manifests/``: names to files and back, in Ollama's layout, four levels deep.

The tree is the only truth about which models there are, so it is looked through on every call. A
folder is listed again only when its time has changed; a thousand models cost two thousand calls of
``stat``. Every function blocks.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from trillama.base.errors import BadRequest, CorruptModel, NotFound
from trillama.base.names import ModelName
from trillama.blobs import make_folder, replace_file, sync_folder, translated

from .manifest import MANIFEST_CAP, Manifest, parse_manifest

log = structlog.get_logger(__name__)

DEPTH = 4
SETTLED = 2_000_000_000
"""Nanoseconds after which two changes of a folder cannot have the same time."""

Stamp = tuple[int, int, int]
"""Modification time in nanoseconds, size and inode: the same while the file is."""


class Found(msgspec.Struct, frozen=True):
    """A manifest as it lies in the store; ``digest`` in hex, ``modified`` in nanoseconds."""

    name: ModelName
    manifest: Manifest
    digest: str
    modified: int


class _Listing(msgspec.Struct, frozen=True):
    stamp: tuple[int, int]
    settled: bool
    paths: tuple[str, ...]


class ManifestTree:
    """The manifests below ``folder``. Safe to use from many threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listings: dict[str, _Listing] = {}

    def __repr__(self) -> str:
        return f"<ManifestTree {self.folder}>"

    def files(self) -> Iterator[str]:
        """Paths of all manifests; what cannot be listed is passed over.

        Raises:
            StoreError: the folder is there but cannot be listed.
        """
        with translated("list", self.folder):
            if self.folder.exists():
                yield from self._walk(str(self.folder), DEPTH)

    def _walk(self, folder: str, depth: int) -> Iterator[str]:
        try:
            paths = self._list(folder, files=depth == 1)
        except (NotADirectoryError, FileNotFoundError):
            return
        except PermissionError as error:
            if depth == DEPTH:
                raise
            log.warning("folder skipped", folder=folder, reason=error.strerror)
            return
        if depth == 1:
            yield from paths
            return
        for path in paths:
            yield from self._walk(path, depth - 1)

    def _list(self, folder: str, *, files: bool) -> tuple[str, ...]:
        facts = os.stat(folder)
        known = self._listings.get(folder)
        stamp = (facts.st_mtime_ns, facts.st_ino)
        if known and known.settled and known.stamp == stamp:
            return known.paths
        settled = time.time_ns() - facts.st_mtime_ns > SETTLED
        with os.scandir(folder) as entries:
            paths = tuple(entry.path for entry in entries if not files or entry.is_file())
        self._listings[folder] = _Listing(stamp, settled, paths)
        return paths

    def path(self, name: ModelName) -> Path:
        """Where the manifest of ``name`` is, however it is spelled there, or would be."""
        return Path(self.spelled(name) or self.folder.joinpath(*name.parts))

    def spelled(self, name: ModelName) -> str | None:
        """Path of the manifest of ``name`` in whatever case; None if there is none."""
        exact = os.path.join(self.folder, *name.parts)
        if os.path.isfile(exact):
            return exact
        folded = exact.lower()
        return next((path for path in self.files() if path.lower() == folded), None)

    def read(self, path: str) -> Found:
        """A manifest.

        Raises:
            NotFound: the file is not there.
            CorruptModel: it is no manifest, or its path no name.
        """
        name = name_of(path)
        with translated("read", Path(path)), open(path, "rb") as file:
            data = file.read(MANIFEST_CAP + 1)
            modified = os.fstat(file.fileno()).st_mtime_ns
        if len(data) > MANIFEST_CAP:
            raise CorruptModel(f"the manifest is larger than {MANIFEST_CAP} bytes")
        return Found(name, parse_manifest(data), hashlib.sha256(data).hexdigest(), modified)

    def bytes_of(self, path: str) -> bytes:
        """What ``read`` reads, as it stands."""
        with translated("read", Path(path)), open(path, "rb") as file:
            return file.read(MANIFEST_CAP + 1)

    def write(self, name: ModelName, data: bytes) -> None:
        """Make ``data`` the manifest of ``name``; a crash leaves the old one or the new one.

        Raises:
            StoreFull, StoreError.
        """
        target = self.path(name)
        with translated("prepare", self.folder):
            make_folder(self.folder)
        replace_file(target, data, staging=self.folder)

    def remove(self, path: str) -> None:
        """Delete a manifest and the folders this leaves empty.

        Raises:
            NotFound: it is not there.
            StoreError.
        """
        with translated("delete", Path(path)):
            os.unlink(path)
            sync_folder(Path(path).parent)
        for folder in Path(path).parents[: DEPTH - 1]:
            with contextlib.suppress(OSError):  # not empty, or somebody was quicker
                folder.rmdir()


def name_of(path: str) -> ModelName:
    """The name a manifest's path stands for.

    Raises:
        CorruptModel: it is none.
    """
    try:
        return ModelName(*Path(path).parts[-DEPTH:])
    except BadRequest:
        raise CorruptModel("the manifest's path is not a model name") from None


def is_name(path: str) -> bool:
    """Whether a model's name can lead to the file."""
    try:
        name_of(path)
    except CorruptModel:
        return False
    return True


def stamp_of(path: str) -> Stamp:
    """What changes when the file does.

    Raises:
        NotFound: it is not there.
    """
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist") from None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
