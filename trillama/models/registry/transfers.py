"""The downloads of a server: one for each blob, shared by all who want it.

A download lives in the nursery of ``run``, not with whoever asked first; it ends when the blob is
there, when it fails, or when the last one who waits for it has left. Who wants the same blob from
another source waits until it is decided, then asks that source if need be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio

from trillama.base.durations import FOREVER, SECOND
from trillama.base.errors import ShuttingDown, TrillamaError
from trillama.base.names import Digest
from trillama.base.settings import Settings
from trillama.blobs import BlobStore

from .download import Download, Limits
from .errors import Offline
from .network import Connect, Resolve, connect, resolve, tls_context
from .pace import Throttle
from .session import Ways
from .source import Source

if TYPE_CHECKING:
    from .keys import Key

log = structlog.get_logger(__name__)


class _Running:
    """A download and those who wait for it."""

    def __init__(self, download: Download) -> None:
        self.download = download
        self.scope = trio.CancelScope()
        self.over = trio.Event()
        self.waiters = 0
        self.error: Exception | None = None


class Transfers:
    """All downloads into one store.

    Args:
        crowded: whether downloads should leave the processors to others.

    Attributes:
        ways: how to get out.
    """

    def __init__(
        self,
        blobs: BlobStore,
        settings: Settings,
        resolver: Resolve = resolve,
        connector: Connect = connect,
        crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self.blobs = blobs
        self.settings = settings
        self.ways = Ways(
            sign=self.sign,
            known=frozenset(one.hostname for one in settings.registries),
            proxies=settings.proxies,
            resolver=resolver,
            connector=connector,
        )
        self.limits = Limits(
            streams=settings.max_transfer_streams,
            patience=_seconds(settings.pull_patience),
            throttle=Throttle(settings.max_download_rate, crowded),
        )
        self._running: dict[Digest, _Running] = {}
        self._nursery: trio.Nursery | None = None

    def __repr__(self) -> str:
        return f"<Transfers {len(self._running)} running>"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry downloads until cancelled; they end with it, resumable."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def sign(self, text: str) -> str:
        """Value of an Authorization header with the signature of this machine's key.

        Raises:
            KeyTrouble: there is no usable key.
        """
        return await trio.to_thread.run_sync(self._sign, text)

    async def public_key(self) -> str:
        """This machine's public key, as a line of ``authorized_keys``.

        Raises:
            KeyTrouble: there is no usable key.
        """
        return (await trio.to_thread.run_sync(self._key)).line

    def _sign(self, text: str) -> str:
        return self._key().authorization(text)

    def _key(self) -> Key:
        from .keys import load_key  # cryptography takes its time, and most pulls need no key

        return load_key(Path(self.settings.identity))

    async def ready(self) -> None:
        """To be called before anything leaves the machine.

        Raises:
            Offline: the settings forbid it.
        """
        if self.settings.offline:
            raise Offline
        await trio.to_thread.run_sync(tls_context)

    async def fetch(
        self,
        source: Source,
        digest: Digest,
        size: int,
        watch: Callable[[Download], None] = lambda download: None,
    ) -> None:
        """Have a blob in the store.

        Args:
            watch: is given the download once there is one, to follow it.

        Raises:
            RegistryError, StoreError: it cannot be had from ``source``.
        """
        while not await trio.to_thread.run_sync(self.blobs.use, digest, size):
            running = self._running.get(digest)
            if running is None:
                running = self._start(Download(self.blobs, source, digest, size))
            same = running.download.source.base == source.base and running.download.size == size
            watch(running.download)
            if not same or running.scope.cancel_called:
                await running.over.wait()
                continue
            await self._wait(running)
            return

    def _start(self, download: Download) -> _Running:
        if self._nursery is None:
            raise ShuttingDown
        running = self._running[download.digest] = _Running(download)
        self._nursery.start_soon(self._carry, running)
        return running

    async def _wait(self, running: _Running) -> None:
        running.waiters += 1
        try:
            await running.over.wait()
        finally:
            running.waiters -= 1
            if not running.waiters:
                running.scope.cancel()
        if running.error:
            raise _again(running.error)
        if running.scope.cancelled_caught:
            raise ShuttingDown

    async def _carry(self, running: _Running) -> None:
        download = running.download
        try:
            with running.scope:
                await download.run(self.limits)
        except Exception as error:
            running.error = error
            if not isinstance(error, TrillamaError):
                log.exception("download failed", digest=download.digest)
        finally:
            self._running.pop(download.digest, None)
            running.over.set()


def _again(error: Exception) -> Exception:
    """An error for one of several waiters, each of whom adds a traceback of its own."""
    return error.with_traceback(None)


def _seconds(ns: int) -> float:
    return math.inf if ns == FOREVER else ns / SECOND
