"""Models out of an archive that may be a stranger's.

All of it is looked at before anything is written: each member is a blob or a manifest by its very
name, each blob is named by a manifest with its size, none comes twice. Blobs become visible when
their bytes have the digest, manifests when all their blobs are there.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from trillama.base.errors import BadRequest, CorruptModel, InvalidName, NotFound, TrillamaError
from trillama.base.names import Digest, ModelName
from trillama.blobs import CHUNK

from ..manifest import CONFIG_CAP, MANIFEST_CAP, Layer, Manifest, parse_config, parse_manifest
from ..store import ModelStore
from .tar import BadArchive, Member, Read, members, opened

MOST_MODELS = 1000
MOST_TEXT = 64 << 20
"""Bytes of all manifests together."""

Advance = Callable[[int], None]


class Imported(msgspec.Struct, frozen=True):
    """A model that came in; ``new`` is false where it was there already."""

    name: str
    digest: str
    new: bool


class _Model(msgspec.Struct, frozen=True):
    name: ModelName
    data: bytes
    manifest: Manifest


class _Contents(msgspec.Struct, frozen=True):
    models: list[_Model]
    blobs: dict[Digest, Member]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How models are to come in.

    Attributes:
        name: instead of the archive's; it has to hold one model then.
        replace: installed models of the same names may go.
    """

    name: ModelName | None = None
    replace: bool = False


def import_archive(store: ModelStore, path: Path, wish: Wish, advance: Advance) -> list[Imported]:
    """Bring in all models of an archive.

    Raises:
        NotFound: there is no such file.
        BadArchive: it is not to be trusted; no model of it is installed.
        BadRequest: another model of the name is installed already.
        StoreFull, StoreError.
    """
    with opened(path) as (read, size):
        contents = _contents(read, size)
        _check_layers(store, contents)
        models = [_wished(one, contents, wish) for one in contents.models]
        new = [_is_new(store, one, wish) for one in models]
        added: list[Digest] = []
        try:
            with store.holds.hold() as hold:
                for digest, member in contents.blobs.items():
                    hold.add(digest)
                    if not store.blobs.use(digest, member.size):
                        _take(store, read, digest, member, advance)
                        added.append(digest)
                _publish(store, [one for one, fresh in zip(models, new, strict=True) if fresh])
        except BaseException:
            for digest in added:
                with contextlib.suppress(TrillamaError):
                    store.discard(digest)
            raise
    return [
        Imported(one.name.short, f"sha256:{hashlib.sha256(one.data).hexdigest()}", fresh)
        for one, fresh in zip(models, new, strict=True)
    ]


def _contents(read: Read, size: int) -> _Contents:
    """All that is in an archive, each member known for what it is."""
    models: dict[tuple[str, ...], _Model] = {}
    blobs: dict[Digest, Member] = {}
    text = 0
    for member in members(read, size):
        place = _place(member)
        if isinstance(place, Digest):
            if place in blobs:
                raise BadArchive(f"{member.name!r} is in the archive twice")
            blobs[place] = member
        elif place is not None:
            if place.folded in models:
                raise BadArchive(f"{member.name!r} is in the archive twice")
            text += member.size
            if member.size > MANIFEST_CAP or text > MOST_TEXT or len(models) == MOST_MODELS:
                raise BadArchive("the archive has too many or too large manifests")
            models[place.folded] = _model(place, read(member.size, member.offset))
    if not models:
        raise BadArchive("the archive has no model")
    return _Contents(list(models.values()), blobs)


def _place(member: Member) -> Digest | ModelName | None:
    """What a member is, by its name alone; None for the folders around models."""
    parts = member.name.removeprefix("./").split("/")
    if member.folder:
        if ".." in parts:
            raise BadArchive(f"{member.name!r} leads out of the archive")
        return None
    if parts[0] == "blobs" and len(parts) == 2 and (digest := Digest.of_file(parts[1])):
        return digest
    if parts[0] == "manifests" and len(parts) == 5:
        try:
            return ModelName(*parts[1:])
        except InvalidName:
            pass
    raise BadArchive(f"{member.name!r} is neither a blob nor a manifest")


def _model(name: ModelName, data: bytes) -> _Model:
    try:
        return _Model(name, data, parse_manifest(data))
    except CorruptModel as error:
        raise BadArchive(f"{name.short}: {error.message}") from None


def _check_layers(store: ModelStore, contents: _Contents) -> None:
    """See that manifests and blobs belong together."""
    needed: set[Digest] = set()
    for one in contents.models:
        for layer in (one.manifest.config, *(one.manifest.layers or ())):
            if layer.digest:
                needed.add(layer.blob)
                _check_layer(store, contents, one.name, layer)
    if stray := contents.blobs.keys() - needed:
        raise BadArchive(f"{min(stray)} is in the archive, but no model in it needs it")


def _check_layer(store: ModelStore, contents: _Contents, name: ModelName, layer: Layer) -> None:
    member = contents.blobs.get(layer.blob)
    try:
        size = member.size if member else store.blobs.size(layer.blob)
    except NotFound:
        raise BadArchive(
            f"{name.short} needs {layer.digest}, which is neither in the archive nor installed"
        ) from None
    if size != layer.size:
        raise BadArchive(f"{layer.digest} has {size} bytes, but its manifest says {layer.size}")


def _wished(model: _Model, contents: _Contents, wish: Wish) -> _Model:
    if wish.name is None:
        return model
    if len(contents.models) > 1:
        raise BadRequest("the archive has several models; another name is for a single one")
    return msgspec.structs.replace(model, name=wish.name)


def _is_new(store: ModelStore, model: _Model, wish: Wish) -> bool:
    """Whether the model is still to be installed."""
    there = store.tree.spelled(model.name)
    if there is None:
        return True
    if store.tree.bytes_of(there) == model.data:
        return False
    if not wish.replace:
        raise BadRequest(
            f"{model.name.short} is installed already as another model; "
            "replace it, or give this one another name"
        )
    return True


def _take(store: ModelStore, read: Read, digest: Digest, member: Member, advance: Advance) -> None:
    """A blob of the archive into the store, if it is what its name says."""
    with store.blobs.stage(member.size) as stage:
        done = 0
        while done < member.size:
            data = read(min(CHUNK, member.size - done), member.offset + done)
            if not data:
                raise BadArchive("the archive became shorter while it was read")
            stage.write(data)
            done += len(data)
            advance(len(data))
        try:
            stage.commit(digest)
        except BadRequest as error:
            raise BadArchive(f"the archive is damaged: {error.message}") from None


def _publish(store: ModelStore, models: list[_Model]) -> None:
    for one in models:
        if one.manifest.config.digest:
            try:
                parse_config(store.blobs.read_bytes(one.manifest.config.blob, CONFIG_CAP))
            except CorruptModel as error:
                raise BadArchive(f"{one.name.short}: {error.message}") from None
    for one in models:
        store.publish(one.name, one.data)
