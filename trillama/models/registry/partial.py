"""A blob that is not whole yet: its data file, the records of its parts, and its hash.

Owns ``<blob>-partial`` and ``<blob>-partial-<N>`` in the blobs folder, under a lock that keeps
other processes out. A record never claims bytes that are not durable. The hash follows what has
come without a gap, reading it back while it is still in the page cache, so that a blob is verified
a moment after its last byte. Every method blocks and belongs on a worker thread; ``write`` may run
for several parts at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path

import structlog

from trillama.base.errors import StoreError
from trillama.base.names import Digest
from trillama.blobs import FILE_MODE, Blob, BlobStore, Published, make_folder, translated

from .errors import DigestMismatch
from .parts import Part, contiguous, plan, read_records, whole, write_record

log = structlog.get_logger(__name__)

HASH_BYTES = 1 << 20


class InUse(StoreError):
    """Another process pulls the same blob."""

    code = "partial_in_use"


class Partial:
    """A blob of ``size`` bytes in the making. Open it, and close it whatever happens.

    Attributes:
        parts: in order of their place.
    """

    def __init__(self, blobs: BlobStore, digest: Digest, size: int) -> None:
        self.parts: list[Part] = []
        self._blobs = blobs
        self._digest = digest
        self._size = size
        self._data = blobs.folder / f"{digest.file_name}-partial"
        self._file = -1
        self._saved: dict[int, int] = {}
        self._hash = hashlib.sha256()
        self._hashed = 0

    @property
    def completed(self) -> int:
        """Bytes that are there."""
        return sum(part.completed for part in self.parts)

    @property
    def unsaved(self) -> int:
        """Bytes that no record claims yet."""
        return self.completed - sum(self._saved.values())

    def open(self) -> None:
        """Take up what an earlier attempt has left, or begin.

        Raises:
            InUse: another process has it open.
            StoreFull: what is missing does not fit on the disk.
            StoreError.
        """
        with translated("write", self._data):
            make_folder(self._blobs.folder)
            self._file = os.open(self._data, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            self._lock()
            self.parts = self._left_over()
            self._blobs.require_room(self._size - self.completed)
            if not self.parts:
                self._begin(plan(self._size))
            self._saved = {part.number: part.completed for part in self.parts}

    def restart_whole(self) -> None:
        """Begin again as one part, which a registry without ranges can serve."""
        with translated("write", self._data):
            self._begin(whole(self._size))
        self._hash, self._hashed = hashlib.sha256(), 0

    def write(self, part: Part, chunks: list[bytes]) -> None:
        """Append to what ``part`` has."""
        size = sum(map(len, chunks))
        place = part.offset + part.completed
        with translated("write", self._data):
            written = os.pwritev(self._file, chunks, place) if size else 0
            if written < size:
                self._write_rest(b"".join(chunks)[written:], place + written)
        part.completed += size

    def _write_rest(self, data: bytes, place: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, place)
            view, place = view[written:], place + written

    def save(self) -> None:
        """Make what has come durable and put it on record."""
        claims = {part.number: part.completed for part in self.parts}
        if claims == self._saved:
            return
        with translated("write", self._data):
            os.fdatasync(self._file)
            for part in self.parts:
                if (claim := claims[part.number]) != self._saved.get(part.number):
                    self._write_record(Part(part.number, part.offset, part.size, claim))
        self._saved = claims

    @property
    def hashed(self) -> int:
        """Bytes that are hashed."""
        return self._hashed

    @property
    def behind(self) -> int:
        """Bytes that could be hashed now."""
        return contiguous(self.parts) - self._hashed

    def hash_some(self, most: int) -> None:
        """Hash at most ``most`` bytes of what has come without a gap."""
        until = min(contiguous(self.parts), self._hashed + most)
        buffer = bytearray(HASH_BYTES)
        view = memoryview(buffer)
        with translated("read", self._data):
            while self._hashed < until:
                asked = view[: until - self._hashed]
                if not (got := os.preadv(self._file, [asked], self._hashed)):
                    raise StoreError(f"{self._data} has become shorter")
                self._hash.update(view[:got])
                self._hashed += got

    def finish(self) -> Blob:
        """Make it a blob of the store; everything must have come and been hashed.

        Raises:
            DigestMismatch: it is not what its name says; what had come is removed.
            StoreError.
        """
        got = f"sha256:{self._hash.hexdigest()}"
        if self._hashed != self._size or got != self._digest:
            self.discard()
            raise DigestMismatch(
                f"digest mismatch, file must be downloaded again: want {self._digest}, got {got}"
            )
        with translated("write", self._data):
            os.ftruncate(self._file, self._size)
            os.fsync(self._file)
        try:
            blob = self._blobs.adopt(self._data, self._digest, self._size, Published.COPY)
        except StoreError:
            if not self._data.exists():  # the blob is there, if not yet durably
                self._forget(self._records())
            raise
        # Adopted data has another name now; at its old one another process may have begun.
        self._forget([*self._records(), *([self._data] if blob.how is Published.PRESENT else [])])
        return blob

    def discard(self) -> None:
        """Remove data and records."""
        self._forget([*self._records(), self._data])

    def _forget(self, paths: list[Path]) -> None:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink()
        self.parts, self._saved = [], {}

    def close(self) -> None:
        """Let go of the file; what has come stays for the next attempt."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = os.path.samestat(os.fstat(self._file), os.stat(self._data))
        except (BlockingIOError, FileNotFoundError):
            same = False
        if not same:  # locked by another process, or taken away by it just now
            raise InUse(f"another process is downloading {self._digest}")

    def _left_over(self) -> list[Part]:
        if os.fstat(self._file).st_size != self._size:
            return []
        records = (path.read_bytes() for path in self._records())
        parts = read_records(records, self._size)
        if parts:
            have = sum(part.completed for part in parts)
            log.info("download resumed", digest=self._digest, have=have, size=self._size)
        return parts

    def _records(self) -> list[Path]:
        prefix = f"{self._data.name}-"
        with os.scandir(self._blobs.folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(prefix)]
        return [self._blobs.folder / name for name in names if name[len(prefix) :].isdigit()]

    def _begin(self, parts: list[Part]) -> None:
        for path in self._records():
            path.unlink()
        os.ftruncate(self._file, 0)
        os.ftruncate(self._file, self._size)
        for part in parts:
            self._write_record(part)
        self.parts = parts
        self._saved = {part.number: 0 for part in parts}

    def _write_record(self, part: Part) -> None:
        path = self._data.with_name(f"{self._data.name}-{part.number}")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            os.pwrite(descriptor, write_record(part), 0)
        finally:
            os.close(descriptor)
