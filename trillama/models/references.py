"""Weights of the store that are somebody's own file: a hard link, or a reference in place.

Such a blob costs no disk, but its owner may change it. So a record beside the store says what the
file was when its digest was computed; whoever is about to use it asks ``check``, which looks at
size, inode and time, and reads the whole file again only when these have changed. Records lie in
``references/``, where Ollama does not look; to it, the blob is a file like any other.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from trillama.base.errors import BadRequest, CorruptModel, NotFound, TrillamaError
from trillama.base.names import Digest
from trillama.blobs import Blob, BlobStore, Published, make_folder, replace_file, translated

log = structlog.get_logger(__name__)


class Record(msgspec.Struct, frozen=True):
    """A file at the moment its digest was computed; ``modified`` in nanoseconds."""

    path: str
    device: int
    inode: int
    size: int
    modified: int


def _facts(path: Path) -> os.stat_result:
    with translated("read", path):
        return path.stat()


def _record(path: Path, facts: os.stat_result) -> Record:
    return Record(str(path), facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _hash(path: Path) -> str:
    with translated("read", path), path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


class References:
    """The records of one store. Safe to use from many threads."""

    def __init__(self, root: Path, blobs: BlobStore) -> None:
        self.folder = root / "references"
        self._blobs = blobs
        blobs.is_sound = self.is_sound

    def __repr__(self) -> str:
        return f"<References {self.folder}>"

    def take(self, source: Path) -> Blob | None:
        """Make a file a blob without copying it: shared blocks, a hard link, or a reference.

        Returns:
            the blob and how it came in; None where none of these is possible.

        Raises:
            NotFound, BadRequest: there is no such file, or it is no regular one.
            CorruptModel: it changed while it was read.
            StoreFull, StoreError.
        """
        blob = self._blobs.share_file(source)
        if blob is None:
            return self._refer(source)
        if blob.how is Published.HARDLINK:
            self._write(blob.digest, _record(source.absolute(), _facts(source)))
        return blob

    def _refer(self, source: Path) -> Blob | None:
        target = source.resolve()
        before = _facts(target)
        if not stat.S_ISREG(before.st_mode):
            raise BadRequest(f"{source.name} is not a regular file")
        digest = Digest(_hash(target))
        record = _record(target, before)
        if record != _record(target, _facts(target)):
            raise CorruptModel(f"{source} changed while it was read")
        if self._blobs.touch(digest):
            return Blob(digest, before.st_size, Published.PRESENT)
        self._write(digest, record)
        if not self._blobs.link_to(digest, target):
            self.forget(digest)
            return None
        return Blob(digest, before.st_size, Published.REFERENCE)

    def check_all(self, digests: Iterable[Digest]) -> None:
        """``check`` each; one look at the file system where nothing is referred to."""
        if self.folder.is_dir():
            for digest in digests:
                self.check(digest)

    def is_sound(self, digest: Digest) -> bool:
        """Whether ``check`` finds nothing wrong."""
        try:
            self.check(digest)
        except (CorruptModel, NotFound):
            return False
        return True

    def check(self, digest: Digest) -> None:
        """See that a blob is still what its digest says; at once for what the store owns.

        Raises:
            CorruptModel: the file has changed.
            NotFound: it is gone.
        """
        record = self._read(digest)
        if record is None:
            return
        path = self._blobs.path(digest)
        try:
            now = _record(Path(record.path), _facts(path))
        except NotFound:
            raise NotFound(f"{record.path}, which the model refers to, is gone") from None
        if now == record:
            return
        log.info("a file of the store changed, reading it again", file=record.path)
        if _hash(path) != digest:
            raise CorruptModel(
                f"{record.path} has changed since the model was made from it; create it again"
            )
        self._write(digest, now)

    def forget(self, digest: Digest) -> None:
        """Drop the record of a blob that is gone."""
        try:
            (self.folder / digest.file_name).unlink(missing_ok=True)
        except OSError as error:
            log.warning("record not removed", digest=digest, reason=error.strerror)

    def _read(self, digest: Digest) -> Record | None:
        try:
            data = (self.folder / digest.file_name).read_bytes()
        except OSError:
            return None
        try:
            return msgspec.json.decode(data, type=Record)
        except msgspec.MsgspecError:
            return Record("", 0, 0, 0, 0)  # damaged: the file is read again

    def _write(self, digest: Digest, record: Record) -> None:
        try:
            with translated("write", self.folder):
                make_folder(self.folder)
            replace_file(
                self.folder / digest.file_name, msgspec.json.encode(record), staging=self.folder
            )
        except TrillamaError as error:  # a store that cannot be written is read again each time
            log.warning("no record written", digest=digest, reason=error.message)
