"""Bodies of streamed answers.

A streamed body outlives the route that made it, so what it reads from is held by the connection
(see ``connection.Visit``) and closed here as soon as the last chunk is out. Events that have piled
up while the client was slow go out together: one record a token, fewer writes. What comes while the
body waits goes straight to the socket where ``express`` has a way. Trouble after the first line
becomes a last line in the dialect's own words; the status cannot change any more. A dialect that
has a word for "still here" says it whenever nothing else was said for a while.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, Protocol, TypeAlias, TypeVar

import trio
from quart import Response
from quart.wrappers.response import ResponseBody

from ..base.errors import TrillamaError
from .errors import told
from .express import Express

SILENCE = 10.0
"""Seconds without a byte after which a stream says that it is still there."""

E = TypeVar("E")
_Shown = TypeVar("_Shown", contravariant=True)
_Read = TypeVar("_Read", covariant=True)

Tap: TypeAlias = Callable[[Sequence[_Read]], bool]
"""Takes events while a reader waits; false once it wants the reader woken."""


class Source(Protocol[_Read]):
    """Where events come from: a turn, or several."""

    async def receive_many(self, tap: Tap[_Read] | None = None) -> Sequence[_Read]:
        """Events that wait, at least one; none once all were read, or when ``tap`` has refused."""
        ...

    def close(self) -> None:
        """Withdraw what still runs; again is harmless."""
        ...


class Writer(Protocol[_Shown]):
    """How a dialect writes events.

    Attributes:
        over: the last event was written; whatever happens now, nothing may follow.
    """

    content_type: str
    over: bool

    def write(self, events: Sequence[_Shown]) -> bytes:
        """Bytes for events that came together."""
        ...

    def error(self, error: TrillamaError) -> bytes:
        """Bytes that end a stream in trouble."""
        ...

    def keep_alive(self) -> bytes:
        """Bytes that say nothing; empty where the dialect has none."""
        ...


class EventBody(ResponseBody, Generic[E]):
    """The body of one streamed answer.

    Args:
        first: events read already, so that early trouble could still choose the status.

    Attributes:
        express: set before the body is read by whoever sends it, where there is a fast way.
    """

    def __init__(self, source: Source[E], writer: Writer[E], first: Sequence[E] = ()) -> None:
        self.express: Express | None = None
        self._source = source
        self._writer = writer
        self._first = first
        self._over = False
        self._patience = SILENCE if writer.keep_alive() else math.inf

    async def __aenter__(self) -> EventBody[E]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._source.close()

    def __aiter__(self) -> EventBody[E]:
        return self

    async def __anext__(self) -> bytes:
        if self._over or self._writer.over:
            raise StopAsyncIteration
        try:
            events = await self._receive()
            if events is None:
                return self._writer.keep_alive()
            if events:
                return self._writer.write(events)
        except Exception as error:
            self._over = True
            return self._writer.error(told(error))
        raise StopAsyncIteration

    async def _receive(self) -> Sequence[E] | None:
        """Events for the usual way, none once all were read; None after a long silence."""
        if self._first:
            first, self._first = self._first, ()
            return first
        while True:
            with trio.move_on_after(self._patience) as silence:
                events = await self._source.receive_many(self._tap if self.express else None)
            if silence.cancelled_caught:
                return None
            if events or self.express is None or not self.express.clogged:
                return events
            await self.express.flush()

    def _tap(self, events: Sequence[E]) -> bool:
        assert self.express is not None
        return self.express.push(self._writer.write(events))


async def stream(source: Source[E], writer: Writer[E]) -> Response:
    """A response that streams ``source``; waits for its first event.

    Raises:
        TrillamaError: trouble before the first event, which the status can still tell.
    """
    first = await source.receive_many()
    return Response(EventBody(source, writer, first), content_type=writer.content_type)
