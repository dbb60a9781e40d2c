"""The models folder: which models there are, and how one comes in.

Owns ``manifests/`` beside the blobs, in Ollama's layout; the manifest tree is the only truth,
scanned on every call and parsed again only where a file changed. Called by the Desk and the
commands through a worker thread: every function blocks. Never loads weights, and never lets one bad
manifest hide the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from trillama.base.errors import BadRequest, CorruptModel, NotFound, TrillamaError
from trillama.base.names import ModelName, ModelReference, parse_name, parse_reference
from trillama.blobs import BlobStore, make_folder, replace_file, translated

from . import manifest as media
from .capabilities import size_text, weight_facts
from .gguf import read_gguf
from .installed import FactsCache, Found, InstalledModel, read_installed
from .manifest import Config, Layer, Manifest, config_bytes, go_document, manifest_bytes
from .validation import validate_weights

log = structlog.get_logger(__name__)


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into the store beside the weights.

    Attributes:
        parameters: options of the model, as a params layer.
        link: hard-link the weights where the file system can; only for files nobody writes into.
        bundled: mark the model as one trillama may replace.
    """

    parameters: dict[str, Any] = {}
    system: str = ""
    licenses: tuple[str, ...] = ()
    link: bool = False
    bundled: bool = False


class _Seen(msgspec.Struct, frozen=True):
    """A manifest file at one moment, and what was read from it.

    Attributes:
        model: None if the manifest was bad.
        complete: every blob it needs was there; otherwise the next look reads again.
    """

    stamp: tuple[int, int, int]
    model: InstalledModel | None
    complete: bool


class ModelStore:
    """The models of one folder. Safe to use from many threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = BlobStore(root)
        self._manifests = root / "manifests"
        self._facts = FactsCache(self.blobs)
        self._seen: dict[str, _Seen] = {}
        self._lent: dict[tuple[str, ...], InstalledModel] = {}

    def __repr__(self) -> str:
        return f"<ModelStore {self.root} {len(self._seen)} manifests seen>"

    def installed(self) -> list[InstalledModel]:
        """All models, newest first by whole seconds, then by name.

        Raises:
            StoreError: the folder exists but cannot be listed.
        """
        found: dict[str, _Seen] = {}
        for path in self._manifest_files():
            with contextlib.suppress(NotFound):
                found[path] = self._look(path)
        self._seen = found
        models = [seen.model for seen in found.values() if seen.model]
        there = {model.name.folded for model in models}
        models += [model for key, model in self._lent.items() if key not in there]
        return sorted(models, key=lambda one: (-(one.modified // 10**9), one.name.short))

    def find(self, wanted: ModelName | ModelReference | str) -> InstalledModel:
        """One model, whatever the case of its name.

        A pinned reference finds the model only while its manifest has that digest; one without a
        tag finds whichever tag has it.

        Raises:
            BadRequest: the text is no name.
            NotFound: there is no such model, its manifest is another one than the pinned, or its
                weights are missing.
            CorruptModel: its manifest is damaged.
        """
        if isinstance(wanted, str):
            wanted = parse_reference(wanted)
        if isinstance(wanted, ModelReference):
            return self._find_pinned(wanted) if wanted.digest else self._find(wanted.name)
        return self._find(wanted)

    def _find_pinned(self, wanted: ModelReference) -> InstalledModel:
        digest, name = wanted.digest, wanted.name
        same = [name] if wanted.tagged else [one.name for one in self._siblings(name)]
        for one in same:
            model = self._find(one)
            if f"sha256:{model.digest}" == digest:
                return model
        raise NotFound(f"model '{wanted.short}' not found")

    def _siblings(self, name: ModelName) -> list[InstalledModel]:
        """Models that differ from ``name`` in the tag alone."""
        return [one for one in self.installed() if one.name.folded[:3] == name.folded[:3]]

    def _find(self, wanted: ModelName) -> InstalledModel:
        path = self._spelled(wanted)
        if path is None:
            if wanted.folded in self._lent:
                return self._lent[wanted.folded]
            raise NotFound(f"model '{wanted.short}' not found")
        model = self._look(path).model or self._read(path)
        if model.weights and not model.weights.is_file():
            log.warning("weights missing", model=wanted.short, blob=model.weights.name)
            raise NotFound(f"model '{wanted.short}' not found: its weights are missing")
        return model

    def licenses(self, model: InstalledModel) -> list[str]:
        """Texts of the license layers.

        Raises:
            NotFound, CorruptModel: a layer is missing, or larger than a text may be.
        """
        blobs = (self.blobs.read_bytes(digest, media.TEXT_CAP) for digest in model.licenses)
        return [data.decode("utf-8", "replace") for data in blobs]

    def import_gguf(
        self, path: Path, name: ModelName | str, extras: Extras | None = None
    ) -> InstalledModel:
        """Bring a GGUF file into the store under ``name``, replacing what had it.

        Raises:
            BadRequest: the text is no name, or the path no regular file.
            NotFound: there is no such file.
            ModelLoadError: llama.cpp would not survive the file, or does not know it.
            StoreFull, StoreError.
        """
        target = parse_name(name) if isinstance(name, str) else name
        extras = extras or Extras()
        validate_weights(path)
        weights = self.blobs.publish_file(path, link=extras.link)
        layers = [Layer(media.MODEL, weights.digest, weights.size), *self._extra_layers(extras)]
        config = self._config(self.blobs.path(weights.digest), extras)
        data = manifest_bytes(
            Manifest(config=self._publish(media.CONFIG_TYPE, config), layers=tuple(layers))
        )
        self._write_manifest(target, data)
        log.info("model imported", model=target.short, weights=weights.digest, how=weights.how)
        return self.find(target)

    def lend(self, model: InstalledModel) -> None:
        """Serve a model whose files lie elsewhere, until the store has one of its name."""
        self._lent[model.name.folded] = model

    def _config(self, weights: Path, extras: Extras) -> bytes:
        return config_bytes(config_of(weights, bundled=extras.bundled))

    def _extra_layers(self, extras: Extras) -> list[Layer]:
        layers = [self._publish(media.LICENSE, text.encode()) for text in extras.licenses]
        if extras.system:
            layers.append(self._publish(media.SYSTEM, extras.system.encode()))
        if extras.parameters:
            layers.append(self._publish(media.PARAMS, go_document(extras.parameters)))
        return layers

    def _publish(self, media_type: str, data: bytes) -> Layer:
        return Layer(media_type, self.blobs.publish_bytes(data), len(data))

    def _write_manifest(self, name: ModelName, data: bytes) -> None:
        spelled = self._spelled(name)
        target = Path(spelled) if spelled else self._manifests.joinpath(*name.parts)
        with translated("prepare", self._manifests):
            make_folder(self._manifests)
        replace_file(target, data, staging=self._manifests)

    def _manifest_files(self) -> Iterator[str]:
        if not self._manifests.exists():
            return
        with translated("list", self._manifests):
            yield from _walk(str(self._manifests), 4)

    def _spelled(self, name: ModelName) -> str | None:
        """Path of the manifest of ``name``, in whatever case it is spelled on disk."""
        exact = self._manifests.joinpath(*name.parts)
        if exact.is_file():
            return str(exact)
        folded = os.path.join(self._manifests, *name.parts).lower()
        return next((path for path in self._manifest_files() if path.lower() == folded), None)

    def _look(self, path: str) -> _Seen:
        """The model of a manifest file; what was read before counts while the file is the same."""
        with translated("read", Path(path)):
            facts = os.stat(path)
        stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        known = self._seen.get(path)
        if known and known.stamp == stamp and known.complete:
            return known
        try:
            model = self._read(path)
            complete = model.weights is None or model.weights.is_file()
            seen = _Seen(stamp, model, complete)
        except TrillamaError as error:
            if known is None or known.stamp != stamp:
                log.warning("manifest skipped", manifest=path, reason=error.message)
            seen = _Seen(stamp, None, complete=not isinstance(error, NotFound))
        self._seen[path] = seen
        return seen

    def _read(self, path: str) -> InstalledModel:
        try:
            name = ModelName(*Path(path).parts[-4:])
        except BadRequest:
            raise CorruptModel("the manifest's path is not a model name") from None
        with translated("read", Path(path)), open(path, "rb") as file:
            data = file.read(media.MANIFEST_CAP + 1)
            modified = os.fstat(file.fileno()).st_mtime_ns
        if len(data) > media.MANIFEST_CAP:
            raise CorruptModel(f"the manifest is larger than {media.MANIFEST_CAP} bytes")
        digest = hashlib.sha256(data).hexdigest()
        found = Found(name, media.parse_manifest(data), digest, modified)
        return read_installed(found, self.blobs, self._facts)


def config_of(weights: Path, *, bundled: bool = False) -> Config:
    """The config blob Ollama would write for these weights."""
    facts = weight_facts(read_gguf(weights, keep_arrays=0))
    return Config(
        model_format="gguf",
        model_family=facts.architecture,
        model_families=(facts.architecture,),
        model_type=size_text(facts.parameter_count),
        file_type=facts.file_type,
        bundled=bundled,
        architecture="amd64",
        os="linux",
    )


def _walk(folder: str, depth: int) -> Iterator[str]:
    """Files exactly ``depth`` levels below ``folder``; what cannot be listed is passed over."""
    try:
        entries = list(os.scandir(folder))
    except NotADirectoryError:
        return
    except PermissionError as error:
        log.warning("folder skipped", folder=folder, reason=error.strerror)
        return
    for entry in entries:
        if depth > 1:
            yield from _walk(entry.path, depth - 1)
        elif entry.is_file():
            yield entry.path
