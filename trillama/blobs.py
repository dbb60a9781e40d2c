"""Content-addressed files: what a model is made of, stored once under the name of its digest.

Owns the folder ``blobs/`` of the models folder (Ollama's layout) and the one way a file is written
durably: temporary file, fsync, rename, fsync of the folder. A crash leaves whole blobs and stale
temporary files, never half a blob. Writers of one digest may race; each ends with the whole file.

Called by ``models/`` and the API's blob routes, through a worker thread: every function blocks.
Never builds a path from anything but a ``Digest``, never follows what a client names, never knows
who needs a blob: ``models/pruning.py`` does.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from trillama.base.errors import BadRequest, CorruptModel, NotFound, StoreError, StoreFull
from trillama.base.names import Digest

CHUNK = 1 << 20
SPARE = 64 << 20
"""Bytes left free on the disk whatever is written."""
FILE_MODE, FOLDER_MODE = 0o644, 0o755
_FICLONE = 0x40049409
"""The ioctl that makes one file share another's extents (linux/fs.h)."""


class Published(enum.StrEnum):
    """How a file came into the store."""

    PRESENT = "present"
    REFLINK = "reflink"
    HARDLINK = "hardlink"
    REFERENCE = "reference"
    COPY = "copy"


class Blob(msgspec.Struct, frozen=True):
    """A blob that is in the store; ``size`` in bytes."""

    digest: Digest
    size: int
    how: Published


class BlobStatistics(msgspec.Struct, frozen=True):
    """Whole blobs in the folder and their bytes."""

    count: int
    size: int


@contextlib.contextmanager
def translated(what: str, path: Path) -> Iterator[None]:
    """Turn an OSError of the block into ours; ``what`` is the verb of the message.

    Raises:
        NotFound, StoreFull, StoreError.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path.name} does not exist") from error
    except OSError as error:
        kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(f"cannot {what} {path}: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its parents durably, mode 0755."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    sync_folder(folder.parent)


def replace_file(target: Path, data: bytes, *, staging: Path) -> None:
    """Write a small file so that a crash leaves the old content or the new one, nothing between.

    Args:
        staging: an existing folder of the same file system for the temporary file.

    Raises:
        StoreFull, StoreError.
    """
    temporary = staging / f".trillama-{secrets.token_hex(8)}"
    with translated("write", target):
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            make_folder(target.parent)
            temporary.replace(target)
            sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


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
    """The blobs of the models folder ``root``. Safe to use from many threads."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "blobs"

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
        """True when the blob can be read; its time is renewed, as pruning spares young ones."""
        path = self.path(digest)
        if not os.access(path, os.R_OK) or not self.exists(digest):
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
        if not self.folder.is_dir():
            return []
        with translated("list", self.folder), os.scandir(self.folder) as entries:
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
            temporary.unlink(missing_ok=True)

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
        with translated("read", source), _open_regular(source) as file:
            return self._share(file, source if link else None) or self._copy(file)

    def share_file(self, source: Path) -> Blob | None:
        """Store a regular file without copying a byte: shared blocks or a hard link.

        Returns:
            None where the file system can do neither.

        Raises:
            NotFound, BadRequest: there is no such file, or it is no regular one.
            StoreFull, StoreError.
        """
        with translated("read", source), _open_regular(source) as file:
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
            temporary.unlink(missing_ok=True)
            return False
        return True

    def _share(self, file: BinaryIO, linkable: Path | None) -> Blob | None:
        temporary = self._temporary()
        with translated("write", temporary):
            make_folder(self.folder)
            try:
                how = _share_blocks(file, linkable, temporary)
                if how is None:
                    return None
                with temporary.open("rb") as shared:
                    # Hashed here, not at the source, which may change meanwhile.
                    digest = Digest(f"sha256:{hashlib.file_digest(shared, 'sha256').hexdigest()}")
                    os.fsync(shared.fileno())
                    size = shared.tell()
                return self.adopt(temporary, digest, size, how)
            finally:
                temporary.unlink(missing_ok=True)

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


def _open_regular(path: Path) -> BinaryIO:
    # O_NONBLOCK: opening a pipe must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadRequest(f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def _share_blocks(file: BinaryIO, linkable: Path | None, target: Path) -> Published | None:
    """Make ``target`` the same blocks as the file; None when the file system cannot."""
    with target.open("xb") as out, contextlib.suppress(OSError):
        fcntl.ioctl(out.fileno(), _FICLONE, file.fileno())
        os.fchmod(out.fileno(), FILE_MODE)
        return Published.REFLINK
    target.unlink()
    if linkable is None:
        return None
    with contextlib.suppress(OSError):
        os.link(linkable, target)
        # The name may have come to mean another file since it was opened.
        if os.path.samestat(target.lstat(), os.fstat(file.fileno())):
            return Published.HARDLINK
        target.unlink()
    return None
