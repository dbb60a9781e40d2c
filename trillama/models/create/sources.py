"""GGUF files of the blobs folder, as layers: what each is, and which belong together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import structlog

from trillama.base.errors import BadRequest, CorruptModel, ModelLoadError, NotFound, Unsupported
from trillama.base.names import Digest
from trillama.blobs import BlobStore

from .. import manifest as media
from ..gguf import GgufFile, read_gguf
from ..validation import validate_weights

log = structlog.get_logger(__name__)

SHARD = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
MAGICS = (b"GGUF", b"FUGG")


class Source(msgspec.Struct, frozen=True):
    """A file of a recipe and what its header says; ``kind`` is a media type."""

    name: str
    digest: Digest
    kind: str
    header: GgufFile


class Part(msgspec.Struct, frozen=True):
    """One layer to be: a file, or the shards of one, in order."""

    kind: str
    sources: tuple[Source, ...]


def require_gguf(files: dict[str, Digest], blobs: BlobStore) -> None:
    """See that a set of files is one of GGUF files.

    Raises:
        Unsupported: safetensors, which have to be converted.
        BadRequest: neither.
    """
    names = [name.lower() for name in files]
    if any(name.endswith(".safetensors") for name in names):
        raise Unsupported("not supported by this version of trillama: creating from safetensors")
    known = any(name.endswith(".gguf") for name in names)
    if not known and not any(_magic(blobs, digest) in MAGICS for digest in files.values()):
        raise BadRequest("unknown type")


def _magic(blobs: BlobStore, digest: Digest) -> bytes:
    with blobs.path(digest).open("rb") as file:
        return file.read(4)


def require_blob(blobs: BlobStore, digest: Digest) -> Digest:
    """``digest``, which is in the store.

    Raises:
        BadRequest: it was never uploaded.
    """
    if not blobs.exists(digest):
        raise BadRequest(f'blob "{digest}" not found: upload it before the model is created')
    return digest


def read_sources(
    files: dict[str, Digest], blobs: BlobStore, parsing: Callable[[], None], kind: str = ""
) -> list[Source]:
    """The headers of GGUF files, by name.

    Args:
        parsing: told before each file.
        kind: media type of all of them; found out from each file if "".

    Raises:
        BadRequest: one is no sound GGUF file.
    """
    found = []
    for name in sorted(files):
        parsing()
        digest = files[name]
        path = blobs.path(digest)
        if _magic(blobs, digest) != b"GGUF":
            raise BadRequest("supplied file was not in GGUF format")
        header = _header(path, name)
        found.append(Source(name, digest, kind or kind_of(header), header))
    return found


def _header(path: Path, name: str) -> GgufFile:
    try:
        return read_gguf(path)
    except (CorruptModel, NotFound) as error:
        raise BadRequest(f"{name}: {error.message}") from None


def _number(header: GgufFile, key: str) -> int:
    value = header.hyper(key)
    return value if isinstance(value, int) else 0


def kind_of(header: GgufFile) -> str:
    """Media type of a GGUF file: adapter, projector or model."""
    kind = header.text("general.type")
    if kind == "adapter":
        return media.ADAPTER
    layers = _number(header, "block_count")
    encoder = any(header.hyper(f"has_{what}_encoder") is True for what in ("vision", "audio"))
    projects = header.architecture == "clip" and not layers and encoder
    sees = not layers and _number(header, "vision.block_count") > 0
    return media.PROJECTOR if kind in ("projector", "mmproj") or sees or projects else media.MODEL


def _split(header: GgufFile, key: str) -> int | None:
    """A number of the split's own, under its plain key or below the architecture."""
    for value in (header.metadata.get(f"split.{key}"), header.hyper(f"split.{key}")):
        if isinstance(value, int):
            return value
    return None


def parts_of(sources: Iterable[Source]) -> list[Part]:
    """Layers of the files, the shards of one file together.

    Raises:
        BadRequest: shards are missing, or say different things than their names.
    """
    parts: dict[object, list[Source]] = {}
    for source in sources:
        count = _split(source.header, "count") or 1
        key: object = source.name
        if count > 1:
            key = (source.kind, _shard_prefix(source, count), count)
        parts.setdefault(key, []).append(source)
    return [_complete(group) for group in parts.values()]


def _shard_prefix(source: Source, count: int) -> str:
    said = f'split GGUF "{source.name}"'
    named = SHARD.fullmatch(source.name)
    if not named:
        raise BadRequest(f"{said} must use llama.cpp split filename pattern")
    if int(named["count"]) != count:
        raise BadRequest(
            f"{said} filename count {int(named['count'])} does not match metadata count {count}"
        )
    number = _split(source.header, "no")
    if number is None:
        raise BadRequest(f"{said} is missing split.no metadata")
    if int(named["number"]) - 1 != number:
        raise BadRequest(
            f"{said} filename index {int(named['number']) - 1} does not match metadata "
            f"index {number}"
        )
    return named["prefix"]


def _complete(group: list[Source]) -> Part:
    count = _split(group[0].header, "count") or 1
    if count > 1:
        numbers = [_split(one.header, "no") or 0 for one in group]
        for number in numbers:
            if numbers.count(number) > 1:
                raise BadRequest(f"split GGUF has duplicate shard index {number}")
        if 0 not in numbers:
            raise BadRequest("split GGUF is missing first shard")
        if len(group) != count:
            prefix = SHARD.fullmatch(group[0].name)
            name = prefix["prefix"] if prefix else group[0].name
            raise BadRequest(f'split GGUF "{name}" has {len(group)} shards, expected {count}')
        group.sort(key=lambda one: _split(one.header, "no") or 0)
    return Part(group[0].kind, tuple(group))


def check_weights(path: Path) -> None:
    """Refuse weights that would end the process that loads them.

    Those of an unknown architecture are let in: a newer program may know it.

    Raises:
        BadRequest: they are damaged.
    """
    try:
        validate_weights(path)
    except CorruptModel as error:
        raise BadRequest(error.message) from None
    except ModelLoadError as error:
        log.warning("the model cannot be loaded by this version", reason=error.message)
