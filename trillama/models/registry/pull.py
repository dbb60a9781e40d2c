"""Pulling a model: its manifest, the blobs it names, and at the very end the manifest's place.

Until the manifest is written the store shows what it showed before. Blobs that came stay for the
next attempt. Nothing from the registry is believed: the manifest is bounded and checked before a
byte of a blob is asked for, and a blob enters the store under the digest of its own bytes only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import msgspec
import trio

from trillama.base.errors import CorruptModel, Unsupported
from trillama.base.names import Digest, ModelName, ModelReference
from trillama.base.progress import Progress, Tell
from trillama.base.registries import places
from trillama.blobs import BlobStore

from ..holds import Holds
from ..manifest import MANIFEST_CAP, MANIFEST_TYPE, Layer, Manifest, parse_manifest
from ..tree import ManifestTree, name_of
from .download import Download
from .errors import RegistryError
from .session import Ask, patiently
from .source import Source
from .transfers import Transfers

MAX_LAYERS = 10_000
AT_ONCE = 4
"""Blobs of one model that come at once."""
REPORT_EVERY = 0.06
TENSOR = "application/vnd.ollama.image.tensor"


class Store(Protocol):
    """Where models are put; see ``ModelStore``."""

    blobs: BlobStore
    holds: Holds
    tree: ManifestTree

    def publish(self, name: ModelName, data: bytes) -> Sequence[Digest]:
        """Make ``data`` the manifest of ``name``; returns blobs that went with the one before."""
        ...


class PullRequest(msgspec.Struct, frozen=True):
    """What is to be pulled.

    Attributes:
        insecure: speak http.
        username, password: shown to the registry, instead of those of the settings.
    """

    wanted: ModelReference
    insecure: bool = False
    username: str = ""
    password: str = ""


class Puller:
    """Pulls into ``store``."""

    def __init__(self, store: Store, transfers: Transfers) -> None:
        self._store = store
        self._transfers = transfers

    async def pull(self, request: PullRequest, tell: Tell) -> None:
        """Bring a model into the store.

        Raises:
            RegistryError, StoreError, CorruptModel: it cannot be had; the store is as before.
        """
        await self._transfers.ready()
        tell(Progress("pulling manifest"))
        *mirrors, last = await trio.to_thread.run_sync(self._sources, request)
        for source in mirrors:
            try:
                return await self._pull_from(source, request, tell)
            except RegistryError as error:
                tell(Progress(f"{source.registry.netloc} cannot give it: {error.message}"))
        return await self._pull_from(last, request, tell)

    async def urls(self, request: PullRequest) -> list[tuple[str, str]]:
        """Digest and URL of each blob, without pulling it."""
        await self._transfers.ready()
        *_, source = await trio.to_thread.run_sync(self._sources, request)
        manifest = parse_manifest(await fetch_manifest(source, request.wanted))
        return [(layer.digest, source.blob(layer.blob)) for layer in blobs_of(manifest)]

    def _sources(self, request: PullRequest) -> list[Source]:
        name = name_of(str(self._store.tree.path(request.wanted.name)))
        return sources(self._transfers, name, request)

    async def _pull_from(self, source: Source, request: PullRequest, tell: Tell) -> None:
        data = await fetch_manifest(source, request.wanted)
        layers = blobs_of(check_manifest(data))
        with self._store.holds.hold() as hold:
            for layer in layers:
                hold.add(layer.blob)
            await self._fetch_blobs(source, layers, tell)
            tell(Progress("verifying sha256 digest"))
            tell(Progress("writing manifest"))
            removed = await trio.to_thread.run_sync(self._store.publish, request.wanted.name, data)
        if removed:
            tell(Progress("removing unused layers"))
        tell(Progress("success"))

    async def _fetch_blobs(self, source: Source, layers: list[Layer], tell: Tell) -> None:
        missing = await trio.to_thread.run_sync(self._missing, layers)
        tickets = trio.Semaphore(AT_ONCE)
        failure: list[Exception] = []

        async def fetch(layer: Layer) -> None:
            try:
                async with tickets:
                    await self._fetch(source, layer, tell)
            except Exception as error:
                failure.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for layer in layers:
                if layer in missing:
                    nursery.start_soon(fetch, layer)
                else:
                    tell(_line(layer.blob, layer.size, layer.size))
        if failure:
            raise failure[0]

    def _missing(self, layers: list[Layer]) -> list[Layer]:
        """Layers still to be fetched, for which there must be room."""
        blobs = self._store.blobs
        missing = [layer for layer in layers if not blobs.use(layer.blob, layer.size)]
        if missing:
            blobs.require_room(sum(layer.size - _begun(blobs, layer) for layer in missing))
        return missing

    async def _fetch(self, source: Source, layer: Layer, tell: Tell) -> None:
        """Fetch a blob and tell how far it is."""
        digest, size = layer.blob, layer.size
        report = _Report(digest, size, tell)
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(report.keep_telling)
            try:
                await self._transfers.fetch(source, digest, size, report.watch)
            except Exception as error:  # alone, not in a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure:
            raise failure
        tell(_line(digest, size, size))


def sources(transfers: Transfers, name: ModelName, request: PullRequest) -> list[Source]:
    """Where ``name`` is looked for: the mirrors of its registry, and last the registry."""
    *mirrors, own = places(name.host, transfers.settings.registries, insecure=request.insecure)
    if request.username:
        own = msgspec.structs.replace(own, username=request.username, password=request.password)
    return [Source(registry, transfers.ways, name) for registry in (*mirrors, own)]


class _Report:
    """Tells of one download from time to time, while something changes."""

    def __init__(self, digest: Digest, size: int, tell: Tell) -> None:
        self._digest = digest
        self._size = size
        self._tell = tell
        self._download: Download | None = None
        self._given = trio.Event()

    def watch(self, download: Download) -> None:
        """Tell of this one from now on."""
        self._download = download
        self._given.set()

    async def keep_telling(self) -> None:
        """Until cancelled."""
        await self._given.wait()
        told, trouble = -1, ""
        while download := self._download:
            if download.completed not in (told, self._size):
                told = download.completed
                self._tell(_line(self._digest, self._size, told))
            if download.trouble not in (trouble, ""):
                self._tell(Progress(f"retrying {self._digest.hex[:12]}: {download.trouble}"))
            trouble = download.trouble
            await download.wait_news()
            await trio.sleep(REPORT_EVERY)


def _line(digest: Digest, total: int, completed: int) -> Progress:
    return Progress(f"pulling {digest.hex[:12]}", str(digest), total, completed)


def _begun(blobs: BlobStore, layer: Layer) -> int:
    """Bytes that an earlier attempt has left on the disk."""
    try:
        facts = (blobs.folder / f"{layer.blob.file_name}-partial").stat()
    except OSError:
        return 0
    return min(facts.st_blocks * 512, layer.size)


def blobs_of(manifest: Manifest) -> list[Layer]:
    """Layers and config, each blob once, in the order Ollama pulls them."""
    found = [*(manifest.layers or ()), manifest.config]
    return list({layer.digest: layer for layer in found if layer.digest}.values())


def check_manifest(data: bytes) -> Manifest:
    """Read a manifest that is to be pulled.

    Raises:
        CorruptModel: it is none, or beyond all measure.
        Unsupported: it is of a kind that cannot be run here.
    """
    manifest = parse_manifest(data)
    layers = manifest.layers or ()
    if len(layers) > MAX_LAYERS:
        raise CorruptModel(f"the manifest has {len(layers)} layers; at most {MAX_LAYERS} are taken")
    if any(layer.media_type == TENSOR for layer in layers):
        raise Unsupported(
            "this model requires MLX support, but the MLX runtime is not available: "
            "not supported by this version of trillama: models of safetensors layers"
        )
    if not layers and not manifest.config.digest:
        raise CorruptModel("the manifest names no blobs")
    return manifest


async def fetch_manifest(source: Source, wanted: ModelReference) -> bytes:
    """The manifest's bytes, as the registry has them.

    Raises:
        RegistryError: with Ollama's words in front.
    """
    reference = wanted.digest or source.name.tag
    ask = Ask(url=f"{source.base}/manifests/{reference}", headers={"Accept": MANIFEST_TYPE})
    try:
        async with source.session() as session:
            data = await patiently(lambda: session.document(ask, MANIFEST_CAP))
    except RegistryError as error:
        raise type(error)(f"pull model manifest: {error.message}") from error
    if wanted.digest and Digest(f"sha256:{hashlib.sha256(data).hexdigest()}") != wanted.digest:
        raise RegistryError(f"pull model manifest: the registry's is not {wanted.digest}")
    return data
