"""The models folder: which models there are, how one comes in, and how one goes.

Owns ``manifests/`` (see ``tree``) beside the blobs; the manifest tree is the only truth, looked
through on every call and parsed again only where a file changed. Called by the Desk and the
commands through a worker thread: every function blocks. Never loads weights, and never lets one bad
manifest hide the others.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from trillama.base.errors import NotFound, StoreError, TrillamaError
from trillama.base.names import Digest, ModelName, ModelReference, parse_name, parse_reference
from trillama.blobs import BlobStore, replace_file

from . import manifest as media
from .capabilities import size_text, weight_facts
from .gguf import read_gguf
from .holds import Holds
from .installed import FactsCache, InstalledModel, read_installed
from .locking import StoreLock
from .manifest import Config, Layer, Manifest, config_bytes, go_document, manifest_bytes
from .pruning import PARTIAL_GRACE, Stale, digests_of, remove_stale, remove_unreferenced
from .references import References
from .tree import ManifestTree, Stamp, name_of, stamp_of
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

    stamp: Stamp
    model: InstalledModel | None
    complete: bool


class ModelStore:
    """The models of one folder. Safe to use from many threads.

    Args:
        noprune: keep the blobs of a model that is replaced.
        wants_go: whether Go templates make the prompts, see ``read_installed``.

    Attributes:
        tree: the manifests.
        blobs: what they name.
        holds: what an operation in progress needs, before a manifest names it.
        references: blobs that are somebody's own file.
        lock: manifests do not change while blobs are pruned, by whatever program.
        unwanted: there once the bundled model was deleted, so that it does not come back.
    """

    def __init__(self, root: Path, *, noprune: bool = False, wants_go: bool | None = None) -> None:
        self.root = root
        self.noprune = noprune
        self._wants_go = wants_go
        self.blobs = BlobStore(root)
        self.tree = ManifestTree(root / "manifests")
        self.holds = Holds()
        self.references = References(root, self.blobs)
        self.unwanted = root / "bundled-model-removed"
        self._facts = FactsCache(self.blobs)
        self._seen: dict[str, _Seen] = {}
        self._lent: dict[tuple[str, ...], InstalledModel] = {}
        self.lock = StoreLock(root)

    def __repr__(self) -> str:
        return f"<ModelStore {self.root} {len(self._seen)} manifests seen>"

    # -- looking ----------------------------------------------------------------------------------

    def installed(self) -> list[InstalledModel]:
        """All models, newest first by whole seconds, then by name.

        Raises:
            StoreError: the folder exists but cannot be listed.
        """
        found: dict[str, _Seen] = {}
        for path in self.tree.files():
            with contextlib.suppress(NotFound):
                found[path] = self._look(path)
        self._seen = found
        models = [seen.model for seen in found.values() if seen.model]
        if self._lent:
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
            CorruptModel: its manifest is damaged, or a file it refers to has changed.
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
        path = self.tree.spelled(wanted)
        if path is None:
            if wanted.folded in self._lent:
                return self._lent[wanted.folded]
            raise NotFound(f"model '{wanted.short}' not found")
        model = self._look(path).model or self._read(path)
        if model.weights and not model.weights.is_file():
            log.warning("weights missing", model=wanted.short, blob=model.weights.name)
            raise NotFound(f"model '{wanted.short}' not found: its weights are missing")
        self.references.check_all(digests_of(model.manifest))
        return model

    def licenses(self, model: InstalledModel) -> list[str]:
        """Texts of the license layers.

        Raises:
            NotFound, CorruptModel: a layer is missing, or larger than a text may be.
        """
        blobs = (self.blobs.read_bytes(digest, media.TEXT_CAP) for digest in model.licenses)
        return [data.decode("utf-8", "replace") for data in blobs]

    def _look(self, path: str) -> _Seen:
        """The model of a manifest file; what was read before counts while the file is the same."""
        stamp = stamp_of(path)
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
        return read_installed(self.tree.read(path), self.blobs, self._facts, self._wants_go)

    # -- changing ---------------------------------------------------------------------------------

    def publish(self, name: ModelName, data: bytes) -> list[Digest]:
        """Make ``data`` the manifest of ``name`` and drop what only the one before it needed.

        The caller holds the blobs that ``data`` names, and has them in the store.

        Returns:
            the blobs that were dropped.

        Raises:
            CorruptModel: it is no manifest.
            StoreError: a blob it names is not there, or it cannot be written.
            StoreFull.
        """
        needed = digests_of(media.parse_manifest(data))
        with self.lock:
            if missing := [one for one in sorted(needed) if not self.blobs.exists(one)]:
                raise StoreError(f"{missing[0]} is not in the store, so no model can need it")
            before = self._needed_by(name)
            self.tree.write(name, data)
            return self._drop(before) if before and not self.noprune else []

    def copy(self, source: ModelName | ModelReference, target: ModelName) -> None:
        """Give a model another name, replacing what had it; no blob is copied.

        Raises:
            NotFound: there is no such model.
            StoreFull, StoreError.
        """
        model = self.find(source)
        if model.name.folded == target.folded:
            return
        path = self.path_of(model.name)
        with self.holds.hold() as hold:
            for digest in digests_of(model.manifest):
                hold.add(digest)
            self.publish(target, self.tree.bytes_of(path))

    def delete(self, wanted: ModelName | ModelReference) -> None:
        """Remove a model, sound or not, and the blobs that no other needs.

        Raises:
            NotFound: there is no such model, or its manifest is another one than the pinned.
            StoreError.
        """
        with self.lock:
            path = self.path_of(wanted)
            bundled = self._is_bundled(path)
            needed = self._needed_by(name_of(path))
            self.tree.remove(path)
            if bundled:
                replace_file(self.unwanted, b"", staging=self.root)
            self._drop(needed)

    def path_of(self, wanted: ModelName | ModelReference) -> str:
        """The manifest that is meant, sound or not.

        Raises:
            NotFound: there is none, or none with the digest that is wanted.
            StoreError: the model is a lent one.
        """
        reference = wanted if isinstance(wanted, ModelReference) else ModelReference(wanted)
        name, pin = reference.name, reference.digest
        anywhere = pin is not None and not reference.tagged
        names = [one.name for one in self._siblings(name)] if anywhere else [name]
        for path in filter(None, map(self.tree.spelled, names)):
            if pin is None or self._digest_of(path) == pin:
                return path
        if name.folded in self._lent:
            raise StoreError(
                f"{name.short} is not in {self.root}, which could not be written to: it is served "
                "from where it lies, and can only be used"
            )
        raise NotFound(f"model '{reference.short}' not found")

    def _digest_of(self, path: str) -> str:
        return f"sha256:{hashlib.sha256(self.tree.bytes_of(path)).hexdigest()}"

    def _is_bundled(self, path: str) -> bool:
        with contextlib.suppress(NotFound):
            model = self._look(path).model
            return model is not None and model.config.bundled
        return False

    def prune(self) -> int:
        """Remove stale files, see ``pruning``; the number of them. Nothing goes while a
        manifest is unreadable, because it may need any blob.
        """
        try:
            return len(self.sweep())
        except TrillamaError as error:
            log.warning("nothing pruned", reason=error.message)
            return 0

    def sweep(self, *, partial_grace: float = PARTIAL_GRACE, dry_run: bool = False) -> list[Stale]:
        """Remove stale files, or only look for them; see ``remove_stale``."""
        with self.lock:
            removed = remove_stale(
                self.tree, self.blobs, self.holds, partial_grace=partial_grace, dry_run=dry_run
            )
        for one in removed:
            digest = None if dry_run else Digest.of_file(Path(one.file).name)
            if digest:
                self.references.forget(digest)
        return removed

    def _needed_by(self, name: ModelName) -> set[Digest]:
        path = self.tree.spelled(name)
        try:
            return digests_of(self.tree.read(path).manifest) if path else set()
        except TrillamaError:
            return set()  # a damaged manifest: pruning at a start finds what it has named

    def discard(self, digest: Digest) -> None:
        """Remove a blob unless somebody needs it."""
        with self.lock:
            self._drop([digest])

    def _drop(self, digests: Iterable[Digest]) -> list[Digest]:
        removed = remove_unreferenced(digests, self.tree, self.blobs, self.holds)
        for digest in removed:
            self.references.forget(digest)
        if removed:
            log.info("blobs removed", count=len(removed))
        return removed

    def lend(self, model: InstalledModel) -> None:
        """Serve a model whose files lie elsewhere, until the store has one of its name."""
        self._lent[model.name.folded] = model

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
        with self.holds.hold() as hold:
            weights = self.blobs.publish_file(path, link=extras.link)
            hold.add(weights.digest)
            layers = [Layer(media.MODEL, weights.digest, weights.size), *self._extra_layers(extras)]
            config = config_of(self.blobs.path(weights.digest), bundled=extras.bundled)
            layer = self._publish(media.CONFIG_TYPE, config_bytes(config))
            for one in (layer, *layers):
                hold.add(one.blob)
            self.publish(target, manifest_bytes(Manifest(config=layer, layers=tuple(layers))))
        log.info("model imported", model=target.short, weights=weights.digest, how=weights.how)
        return self.find(target)

    def _extra_layers(self, extras: Extras) -> list[Layer]:
        layers = [self._publish(media.LICENSE, text.encode()) for text in extras.licenses]
        if extras.system:
            layers.append(self._publish(media.SYSTEM, extras.system.encode()))
        if extras.parameters:
            layers.append(self._publish(media.PARAMS, go_document(extras.parameters)))
        return layers

    def _publish(self, media_type: str, data: bytes) -> Layer:
        return Layer(media_type, self.blobs.publish_bytes(data), len(data))


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
