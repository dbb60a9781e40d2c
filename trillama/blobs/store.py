"""The folder of blobs, and one that is being written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from trillama.base.errors import BadRequest, CorruptModel, NotFound, StoreFull
from trillama.base.names import Digest

from .durable import discard, make_folder, sync_folder, translated
from .sharing import FILE_MODE, Published, open_regular, share_blocks

CHUNK = 1 << 20
SPARE = 64 << 20
"""Bytes left free on the disk whatever is written."""


class Blob(msgspec.Struct, frozen=True):
    """A blob that is in the store; ``size`` in bytes."""

    digest: Digest
    size: int
    how: Published


class BlobStatistics(msgspec.Struct, frozen=True):
    """Whole blobs in the folder and their bytes."""

    count: int
    size: int


class Stage:
    """A blob being written; becomes visible by ``commit`` alone."""

    def __init__(self, store: BlobStore, path: Path, file: BinaryIO) -> None:
        self.size = 0
        self._store = store
        self._path = path
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        with translated("write", self._path):
            self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def commit(self, expected: Digest | None = None) -> Blob:
        """Make the blob durable and visible.

        Raises:
            BadRequest: the content is not what ``expected`` names; nothing becomes visible.
            StoreFull, StoreError.
        """
        digest = Digest(f"sha256:{self._hash.hexdigest()}")
        if expected is not None and digest != expected:
            raise BadRequest(f'digest mismatch, expected "{expected}", got "{digest}"')
        with translated("write", self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        return self._store.adopt(self._path, digest, self.size, Published.COPY)


class BlobStore:
    """The blobs of the models folder ``root``. Safe to use from many threads.

    Attributes:
        is_sound: whether a blob may still be what its name says; one that is not is replaced by
            whoever brings it again. Set by who knows of blobs that others can write into.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "blobs"
        self.is_sound: Callable[[Digest], bool] = lambda _: True

    def __repr__(self) -> str:
        return f"<BlobStore {self.folder}>"

    def path(self, digest: Digest) -> Path:
        """Where the blob is or would be."""
        return self.folder / digest.file_name

    def size(self, digest: Digest) -> int:
        """Bytes of a blob.

        Raises:
            NotFound: it is not in the store, or is no regular file.
        """
        path = self.path(digest)
        with translated("read", path):
            facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise NotFound(f"{path.name} is not in the store")
        return facts.st_size

    def exists(self, digest: Digest) -> bool:
        """True when the blob is in the store."""
        try:
            return self.size(digest) >= 0
        except NotFound:
            return False

    def touch(self, digest: Digest) -> bool:
        """True when the blob can be used; its time is renewed, as pruning spares young ones."""
        path = self.path(digest)
        if not os.access(path, os.R_OK) or not self.exists(digest) or not self.is_sound(digest):
            return False
        with contextlib.suppress(OSError):
            if path.lstat().st_nlink == 1:  # the time of a hard link is somebody else's too
                os.utime(path, follow_symlinks=False)
        return True

    def read_bytes(self, digest: Digest, cap: int) -> bytes:
        """Content of a small blob.

        Raises:
            NotFound: it is not in the store.
            CorruptModel: it is larger than ``cap`` bytes.
        """
        if (size := self.size(digest)) > cap:
            raise CorruptModel(f"{digest} has {size} bytes; at most {cap} are read at once")
        path = self.path(digest)
        with translated("read", path), path.open("rb") as file:
            return file.read(cap)

    def entries(self) -> list[os.DirEntry[str]]:
        """Everything in the folder: whole blobs, partial ones, and what is neither."""
        with translated("list", self.folder):
            if not self.folder.is_dir():
                return []
            with os.scandir(self.folder) as entries:
                return list(entries)

    def statistics(self) -> BlobStatistics:
        """Count and sum of the whole blobs; walks the folder."""
        sizes = [
            entry.stat().st_size
            for entry in self.entries()
            if Digest.of_file(entry.name) and entry.is_file()
        ]
        return BlobStatistics(len(sizes), sum(sizes))

    def remove(self, digest: Digest) -> bool:
        """Delete a blob; false when it was not there. The caller knows that nobody needs it.

        Raises:
            StoreError.
        """
        try:
            with translated("delete", self.path(digest)):
                self.path(digest).unlink()
        except NotFound:
            return False
        return True

    def require_room(self, size: int) -> None:
        """Refuse early what cannot fit.

        Raises:
            StoreFull: fewer than ``size`` bytes and a spare are free.
        """
        with translated("prepare", self.folder):
            make_folder(self.folder)
            free = shutil.disk_usage(self.folder).free
        if free < size + SPARE:
            raise StoreFull(
                f"{self.folder}: {size >> 20} MiB are to be written but only {free >> 20} MiB "
                f"are free, of which {SPARE >> 20} are kept"
            )

    @contextlib.contextmanager
    def stage(self, size: int = 0) -> Iterator[Stage]:
        """Open a new blob for writing; whatever was not committed is removed at the end.

        Args:
            size: bytes that will be written, when known.
        """
        self.require_room(size)
        temporary = self._temporary()
        try:
            with translated("write", temporary):
                file = temporary.open("xb")
            with file:
                os.fchmod(file.fileno(), FILE_MODE)
                yield Stage(self, temporary, file)
        finally:
            discard(temporary)

    def publish_bytes(self, data: bytes) -> Digest:
        """Store ``data``.

        Raises:
            StoreFull, StoreError.
        """
        digest = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
        if self._refresh(digest, len(data)):
            return digest
        with self.stage(len(data)) as stage:
            stage.write(data)
            return stage.commit(digest).digest

    def publish_file(self, source: Path, *, link: bool = False) -> Blob:
        """Store a copy of a regular file, sharing its blocks where the file system can.

        Args:
            link: a hard link will do; only for files that nobody ever writes into.

        Raises:
            NotFound: there is no such file.
            BadRequest: it is not a regular file.
            StoreFull, StoreError.
        """
        with translated("read", source), open_regular(source) as file:
            return self._share(file, source if link else None) or self._copy(file)

    def share_file(self, source: Path) -> Blob | None:
        """Store a regular file without copying a byte: shared blocks or a hard link.

        Returns:
            None where the file system can do neither.

        Raises:
            NotFound, BadRequest: there is no such file, or it is no regular one.
            StoreFull, StoreError.
        """
        with translated("read", source), open_regular(source) as file:
            return self._share(file, source)

    def link_to(self, digest: Digest, target: Path) -> bool:
        """Let the blob be a symbolic link to a file elsewhere; false where it cannot be."""
        temporary = self._temporary()
        try:
            make_folder(self.folder)
            temporary.symlink_to(target)
            temporary.replace(self.path(digest))
            sync_folder(self.folder)
        except OSError:
            discard(temporary)
            return False
        return True

    def _share(self, file: BinaryIO, linkable: Path | None) -> Blob | None:
        temporary = self._temporary()
        with translated("write", temporary):
            make_folder(self.folder)
            try:
                how = share_blocks(file, linkable, temporary)
                if how is None:
                    return None
                with temporary.open("rb") as shared:
                    # Hashed here, not at the source, which may change meanwhile.
                    digest = Digest(f"sha256:{hashlib.file_digest(shared, 'sha256').hexdigest()}")
                    os.fsync(shared.fileno())
                    size = shared.tell()
                return self.adopt(temporary, digest, size, how)
            finally:
                discard(temporary)

    def _copy(self, file: BinaryIO) -> Blob:
        with self.stage(os.fstat(file.fileno()).st_size) as stage:
            while chunk := file.read(CHUNK):
                stage.write(chunk)
            return stage.commit()

    def adopt(self, temporary: Path, digest: Digest, size: int, how: Published) -> Blob:
        """Give a synced temporary file its name, unless the blob is there already."""
        if self._refresh(digest, size):
            return Blob(digest, size, Published.PRESENT)
        with translated("write", self.path(digest)):
            temporary.replace(self.path(digest))
            sync_folder(self.folder)
        return Blob(digest, size, how)

    def use(self, digest: Digest, size: int) -> bool:
        """True when the blob is there with that size; pruning then spares it for an hour."""
        return self._refresh(digest, size)

    def _intact(self, digest: Digest, size: int) -> bool:
        try:
            return self.size(digest) == size
        except NotFound:
            return False

    def _refresh(self, digest: Digest, size: int) -> bool:
        return self._intact(digest, size) and self.touch(digest)

    def _temporary(self) -> Path:
        # Ollama's own pattern: its start-up pruning clears what a crash leaves behind.
        return self.folder / f"sha256-{secrets.randbits(63)}"
