"""Bodies of streamed answers.

A streamed body outlives the route that made it, so what it reads from is held by the connection
(see ``connection.Visit``) and closed here as soon as the last chunk is out. Events that have piled
up while the client was slow go out together: one record a token, fewer writes. What comes while the
body waits goes straight to the socket where ``express`` has a way. Trouble after the first line
becomes a last line in the dialect's own words; the status cannot change any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

from quart import Response
from quart.wrappers.response import ResponseBody

from ..base.errors import TrillamaError
from ..base.turns import TurnEvent
from .errors import told
from .express import Express

Tap = Callable[[Sequence[TurnEvent]], bool]
"""Takes events while a reader waits; false once it wants the reader woken."""


class Source(Protocol):
    """Where events come from: a turn."""

    async def receive_many(self, tap: Tap | None = None) -> Sequence[TurnEvent]:
        """Events that wait, at least one; none once all were read, or when ``tap`` has refused."""
        ...

    def close(self) -> None:
        """Withdraw what still runs; again is harmless."""
        ...


class Writer(Protocol):
    """How a dialect writes events."""

    content_type: str

    def write(self, events: Sequence[TurnEvent]) -> bytes:
        """Bytes for events that came together."""
        ...

    def error(self, error: TrillamaError) -> bytes:
        """Bytes that end a stream in trouble."""
        ...


class EventBody(ResponseBody):
    """The body of one streamed answer.

    Args:
        first: events read already, so that early trouble could still choose the status.

    Attributes:
        express: set before the body is read by whoever sends it, where there is a fast way.
    """

    def __init__(self, source: Source, writer: Writer, first: Sequence[TurnEvent]) -> None:
        self.express: Express | None = None
        self._source = source
        self._writer = writer
        self._first = first
        self._over = False

    async def __aenter__(self) -> EventBody:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._source.close()

    def __aiter__(self) -> EventBody:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            events, self._first = self._first, ()
            return self._writer.write(events)
        if self._over:
            raise StopAsyncIteration
        try:
            events = await self._receive()
        except Exception as error:
            self._over = True
            return self._writer.error(told(error))
        if not events:
            raise StopAsyncIteration
        return self._writer.write(events)

    async def _receive(self) -> Sequence[TurnEvent]:
        """Events for the usual way; the first of them takes along what the socket left."""
        express = self.express
        if express is None:
            return await self._source.receive_many()
        while True:
            events = await self._source.receive_many(self._tap)
            if events or not express.clogged:
                return events
            await express.flush()

    def _tap(self, events: Sequence[TurnEvent]) -> bool:
        assert self.express is not None
        return self.express.push(self._writer.write(events))


async def stream(source: Source, writer: Writer) -> Response:
    """A response that streams ``source``; waits for its first event.

    Raises:
        TrillamaError: trouble before the first event, which the status can still tell.
    """
    first = await source.receive_many()
    return Response(EventBody(source, writer, first), content_type=writer.content_type)
