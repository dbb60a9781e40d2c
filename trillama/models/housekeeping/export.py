"""A model in one file, for machines without a network.

A tar archive in the layout of the models folder: blobs, then the manifest, byte for byte. So it can
also be unpacked over the models folder of an Ollama by ``tar`` itself. Equal models give equal
files: no time, owner or random name is in them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import msgspec

from trillama.base.errors import BadRequest, CorruptModel, NotFound
from trillama.base.names import Digest
from trillama.blobs import FILE_MODE, sync_folder, translated

from ..pruning import digests_of
from ..store import ModelStore

Advance = Callable[[int], None]


class Exported(msgspec.Struct, frozen=True):
    """What was written: the model's name, the digest of its manifest, bytes of the archive."""

    name: str
    digest: str
    size: int


class _Counted:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO, advance: Advance) -> None:
        self._file = file
        self._advance = advance
        self.hash = hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self.hash.update(data)
        self._advance(len(data))
        return data


def export_model(store: ModelStore, name: str, target: Path, advance: Advance) -> Exported:
    """Write a model to ``target``, every blob verified on the way.

    Raises:
        NotFound: there is no such model or folder, or a blob is missing.
        BadRequest: ``target`` is there already.
        CorruptModel: a blob is not what its name says; nothing is left behind.
        StoreFull, StoreError.
    """
    model = store.find(name)
    if target.exists():
        raise BadRequest(f"{target} exists already")
    if not target.parent.is_dir():
        raise NotFound(f"there is no folder {target.parent}")
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    manifest = store.tree.bytes_of(str(store.tree.path(model.name)))
    with store.holds.hold() as hold, translated("write", target):
        try:
            with temporary.open("xb") as out, _writer(out) as tar:
                for digest in sorted(digests_of(model.manifest)):
                    hold.add(digest)
                    _add_blob(store, tar, digest, advance)
                place = "/".join(("manifests", *model.name.parts))
                tar.addfile(_info(place, len(manifest)), BytesIO(manifest))
                tar.close()
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(target)
            sync_folder(target.absolute().parent)
        finally:
            temporary.unlink(missing_ok=True)
    return Exported(model.name.short, f"sha256:{model.digest}", target.stat().st_size)


def _writer(out: BinaryIO) -> tarfile.TarFile:
    return tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT)


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, FILE_MODE
    return info


def _add_blob(store: ModelStore, tar: tarfile.TarFile, digest: Digest, advance: Advance) -> None:
    path = store.blobs.path(digest)
    size = store.blobs.size(digest)
    with path.open("rb") as file:
        counted = _Counted(file, advance)
        tar.addfile(_info(f"blobs/{digest.file_name}", size), counted)
    if counted.hash.hexdigest() != digest.hex:
        raise CorruptModel(f"{digest} is damaged; see trillama fsck")
