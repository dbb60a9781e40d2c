"""Pushing a model: the blobs its registry lacks, and at the end its manifest, byte for byte."""

from __future__ import annotations

from typing import Protocol

import trio

from trillama.base.errors import NotFound, StoreError
from trillama.base.names import ModelName, ModelReference
from trillama.base.progress import Progress, Tell
from trillama.blobs import BlobStore

from ..manifest import MANIFEST_TYPE, Layer, parse_manifest
from ..tree import ManifestTree, name_of
from .pull import AT_ONCE, REPORT_EVERY, PullRequest, blobs_of, sources
from .reply import refuse
from .session import Ask, Session, patiently
from .source import Source
from .transfers import Transfers
from .upload import Upload


class Store(Protocol):
    """Where models are; see ``ModelStore``."""

    blobs: BlobStore
    tree: ManifestTree

    def path_of(self, wanted: ModelReference) -> str:
        """The manifest that is meant; NotFound where there is none."""
        ...


class Pusher:
    """Pushes from ``store``."""

    def __init__(self, store: Store, transfers: Transfers) -> None:
        self._store = store
        self._transfers = transfers

    async def push(self, request: PullRequest, tell: Tell) -> None:
        """Bring a model into the registry its name says; ``request`` says which and how.

        Raises:
            NotFound: there is no such model.
            RegistryError, StoreError: it cannot be brought there.
        """
        await self._transfers.ready()
        tell(Progress("retrieving manifest"))
        try:
            name, data = await trio.to_thread.run_sync(self._read, request.wanted)
        except NotFound:
            tell(Progress("couldn't retrieve manifest"))
            raise
        manifest = parse_manifest(data)
        source = sources(self._transfers, name, request)[-1]
        async with source.session(2 * AT_ONCE) as session:
            await self._push_blobs(session, source, blobs_of(manifest), tell)
            tell(Progress("pushing manifest"))
            await _put_manifest(session, source, manifest.media_type or MANIFEST_TYPE, data)
        tell(Progress("success"))

    def _read(self, wanted: ModelReference) -> tuple[ModelName, bytes]:
        path = self._store.path_of(wanted)
        return name_of(path), self._store.tree.bytes_of(path)

    async def _push_blobs(
        self, session: Session, source: Source, layers: list[Layer], tell: Tell
    ) -> None:
        tickets = trio.Semaphore(AT_ONCE)
        failure: list[Exception] = []

        async def push(layer: Layer) -> None:
            try:
                async with tickets:
                    await self._push_blob(session, source, layer, tell)
            except Exception as error:
                failure.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for layer in layers:
                nursery.start_soon(push, layer)
        if failure:
            raise failure[0]

    async def _push_blob(self, session: Session, source: Source, layer: Layer, tell: Tell) -> None:
        size = await trio.to_thread.run_sync(self._store.blobs.size, layer.blob)
        if size != layer.size:
            raise StoreError(f"{layer.digest} has {size} bytes; its manifest says {layer.size}")
        upload = Upload(session, source, layer, self._store.blobs.path(layer.blob))
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_telling, upload, tell)
            try:
                await upload.run(self._transfers.limits.patience)
            except Exception as error:  # alone, not in a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure:
            raise failure
        tell(_line(layer, layer.size))


async def _keep_telling(upload: Upload, tell: Tell) -> None:
    told, trouble = -1, ""
    while True:
        if upload.completed not in (told, upload.layer.size):
            told = upload.completed
            tell(_line(upload.layer, told))
        if upload.trouble not in (trouble, ""):
            tell(Progress(f"retrying {upload.layer.blob.hex[:12]}: {upload.trouble}"))
        trouble = upload.trouble
        await trio.sleep(REPORT_EVERY)


def _line(layer: Layer, completed: int) -> Progress:
    digest = layer.blob
    return Progress(f"pushing {digest.hex[:12]}", str(digest), layer.size, completed)


async def _put_manifest(session: Session, source: Source, media_type: str, data: bytes) -> None:
    headers = {"Content-Type": media_type, "Content-Length": str(len(data))}
    ask = Ask(method="PUT", url=source.manifest, headers=headers, content=data)

    async def put() -> bytes:
        async with await session.send(ask) as reply:
            await refuse(reply)
        return b""

    await patiently(put)
