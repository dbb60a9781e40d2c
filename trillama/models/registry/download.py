"""One blob on its way into the store.

    run -+- workers: take the first part nobody has, fetch it, try again while there is patience
         +- scribe: puts on record what has come, before too much is unrecorded
         +- hasher: follows what has come without a gap

A cancel leaves by every road with what has come on record, to be resumed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
import trio

from trillama.base.names import Digest
from trillama.blobs import BlobStore

from .errors import RegistryError, Stalled, Transient
from .pace import MOST_LAGS, WORTH, Patience, Pulse, Throttle, Watch
from .partial import InUse, Partial
from .parts import Part
from .reply import Reply, refuse
from .source import BlobReader, Source, Span

log = structlog.get_logger(__name__)

WRITE_BYTES = 1 << 20
RECORD_EVERY = 5.0
HASH_STEP, SMALL_HASH_STEP = 32 << 20, 1 << 20
"""Bytes hashed in one go, and where others need the processors."""
LAST_WORDS = 10.0
"""Seconds a cancelled download has to put itself on record."""
TURN = 1.0
"""Seconds between looks at a blob that another process downloads."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,20})-(\d{1,20})/(\d{1,20}|\*)")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a download may take.

    Attributes:
        streams: connections at once.
        patience: seconds it goes on trying while nothing comes.
        throttle: shared by all.
    """

    streams: int = 8
    patience: float = 4 * 3600.0
    throttle: Throttle


class NoRanges(RegistryError):
    """The registry sends the whole blob whatever is asked."""


async def _blocking(work: Callable[..., Any], *args: Any) -> Any:
    return await trio.to_thread.run_sync(work, *args)


class Download:
    """A blob of ``size`` bytes from ``source``.

    Attributes:
        trouble: why nothing comes right now, or "".
    """

    def __init__(self, blobs: BlobStore, source: Source, digest: Digest, size: int) -> None:
        self.digest = digest
        self.size = size
        self.source = source
        self.trouble = ""
        self._blobs = blobs
        self._partial = Partial(blobs, digest, size)
        self._present = False
        self._busy: set[int] = set()
        self._failure: Exception | None = None
        self._ranges = True
        self._news = trio.Event()
        self._pulse = Pulse()

    @property
    def completed(self) -> int:
        """Bytes that are there."""
        return self.size if self._present else self._partial.completed

    async def run(self, limits: Limits) -> None:
        """Bring the blob into the store.

        Raises:
            DigestMismatch, RegistryError, StoreError: it cannot be had.
        """
        self._limits = limits
        try:
            await self._open()
            self._patience = Patience(limits.patience, trio.current_time())
            while not self._present:
                try:
                    await self._fetch_all()
                    await _blocking(self._partial.finish)
                    self._present = True
                except NoRanges:
                    if not self._ranges:
                        raise
                    self._ranges = False
                    await _blocking(self._partial.restart_whole)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_WORDS):
                await _blocking(self._leave)

    async def _open(self) -> None:
        while True:
            try:
                self._present = await _blocking(self._blobs.use, self.digest, self.size)
                if not self._present:
                    await _blocking(self._partial.open)
            except InUse as error:
                self._say(error.message)
                self._partial.close()
                await trio.sleep(TURN)
            else:
                self._say("")
                return

    def _leave(self) -> None:
        if not self._present:
            with contextlib.suppress(Exception):
                self._partial.save()
        self._partial.close()

    async def _fetch_all(self) -> None:
        self._failure = None
        streams = self._limits.streams if self._ranges else 1
        async with (
            BlobReader(self.source, self.digest, streams) as self._reader,
            trio.open_nursery() as nursery,
        ):
            for work in (self._hash_along, self._record, *[self._work] * streams):
                nursery.start_soon(self._guard, work, nursery.cancel_scope)
        if self._failure:
            raise self._failure

    async def _guard(self, work: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        """The first trouble ends them all, and is the trouble of the download."""
        try:
            await work()
        except Exception as error:
            self._failure = self._failure or error
            scope.cancel()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._tell()

    async def wait_news(self) -> None:
        """Until something has come, or there is trouble."""
        await self._news.wait()

    async def _hash_along(self) -> None:
        while self._partial.hashed < self.size:
            if self._partial.behind:
                began = trio.current_time()
                step = SMALL_HASH_STEP if self._limits.throttle.crowded else HASH_STEP
                await _blocking(self._partial.hash_some, step)
                await self._limits.throttle.rest(trio.current_time() - began)
            else:
                await self._news.wait()

    async def _record(self) -> None:
        partial = self._partial
        while partial.completed < self.size:
            while not partial.unsaved:
                await self._news.wait()
            with trio.move_on_after(RECORD_EVERY):
                while partial.unsaved < self._part // 2 and partial.completed < self.size:
                    await self._news.wait()
            await _blocking(partial.save)
            self._tell()

    async def _work(self) -> None:
        while part := self._next():
            self._busy.add(part.number)
            try:
                await self._fetch(part)
            finally:
                self._busy.discard(part.number)

    @property
    def _part(self) -> int:
        """Bytes of the largest part: at most so many may be lost by a crash."""
        return max(part.size for part in self._partial.parts)

    def _next(self) -> Part | None:
        free = (part for part in self._partial.parts if part.number not in self._busy)
        return next((part for part in free if part.missing), None)

    async def _fetch(self, part: Part) -> None:
        """Bring a part, however often it takes."""
        tries = lags = 0
        while part.missing:
            before = part.completed
            try:
                await self._attempt(part, may_lag=lags < MOST_LAGS)
            except Stalled:
                lags += 1
            except Transient as error:
                if part.completed - before >= WORTH:
                    tries = 0
                    self._patience.progress(trio.current_time())
                delay = self._patience.delay(error, tries, trio.current_time())
                tries += 1
                self._say(error.message)
                log.info("part failed", digest=self.digest, reason=error.message, again_in=delay)
                await trio.sleep(delay)
            else:
                self._say("")
                self._patience.progress(trio.current_time())

    async def _attempt(self, part: Part, *, may_lag: bool) -> None:
        start = part.offset + part.completed
        span = (start, part.end) if self._ranges and (start, part.end) != (0, self.size) else None
        async with await self._reader.open(span, self._pulse.silence) as reply:
            skip = await self._check(reply, span, start)
            watch = Watch(self._pulse, trio.current_time(), may_lag=may_lag)
            await self._receive(reply, part, watch, skip)
            watch.close(trio.current_time())

    async def _check(self, reply: Reply, span: Span | None, start: int) -> int:
        """See that the reply is what was asked for; returns how many bytes are to be skipped."""
        await refuse(reply)
        if span is None or reply.status != 206:
            if span is not None:
                raise NoRanges("the registry serves no ranges")
            length = reply.headers.get("content-length", "")
            if length.isdigit() and int(length) != self.size:
                raise self._wrong_size(int(length))
            return start
        found = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", "").strip())
        if not found or int(found[1]) != start:
            raise RegistryError("the registry sends another range than it was asked for")
        if found[3] != "*" and int(found[3]) != self.size:
            raise self._wrong_size(int(found[3]))
        return 0

    def _wrong_size(self, size: int) -> RegistryError:
        return RegistryError(
            f"the registry's {self.digest} has {size} bytes; its manifest says {self.size}"
        )

    async def _receive(self, reply: Reply, part: Part, watch: Watch, skip: int) -> None:
        waiting: list[bytes] = []
        size = 0
        try:
            while chunk := await reply.read_some():
                held = await self._limits.throttle.take(len(chunk))
                watch.feed(len(chunk), trio.current_time(), held)
                waiting.append(chunk[skip:] if skip else chunk)
                skip, size = max(0, skip - len(chunk)), size + len(waiting[-1])
                if size > part.missing:
                    raise RegistryError("the registry sends more than it was asked for")
                if size >= WRITE_BYTES:
                    await self._store(part, waiting)
                    waiting, size = [], 0
        except Transient:
            await self._store(part, waiting)
            raise
        await self._store(part, waiting)
        if part.missing:
            raise Transient("the registry sends less than it was asked for")

    async def _store(self, part: Part, chunks: list[bytes]) -> None:
        """Write what has come; waits while too much is not on record."""
        await _blocking(self._partial.write, part, chunks)
        self._tell()
        ahead = self._limits.streams * WRITE_BYTES
        most = max(self._part - ahead, self._part // 2)
        while self._partial.unsaved >= most and self._partial.completed < self.size:
            await self._news.wait()
