"""From a request in neutral words to the body of its answer: streamed or whole, one answer or many.

    begin the turns > wait for the first event > stream, or read everything

Every dialect's routes end here. A stream of server-sent events may have to begin before its answer
does, when a model loads or the queue is long: for ``SILENCE`` seconds nothing is sent, so that
trouble, which mostly comes at once, still chooses the status; then headers go out, a sign of life
follows every ``SILENCE`` seconds, and trouble becomes the last event. The answer is begun by a task
of the request's own nursery, so that it keeps its place in the queue meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import trio
from quart import Response

from ..base.events import Usage
from ..base.turns import Chosen, Finished, Piece, TurnEvent, TurnRequest, joined
from . import streaming
from .callers import caller
from .connection import visit
from .desk import Desk
from .errors import JSON
from .streaming import EventBody, Source, Tap, Writer
from .turn import Turn

Event = TurnEvent | Chosen


class Records(Writer[Event], Protocol):
    """How a dialect writes one or several answers to a request."""

    def begun(self, usage: Callable[[], Usage]) -> None:
        """The engine has the prompt; from now on ``usage`` counts what is known of it."""
        ...

    def whole(self, answers: Sequence[Sequence[TurnEvent]]) -> bytes:
        """The one object of answers that are not streamed, of each all events."""
        ...


async def answer(
    desk: Desk, turns: Sequence[TurnRequest], records: Records, *, streamed: bool
) -> Response:
    """The response to a request for ``len(turns)`` answers.

    Raises:
        TrillamaError: what went wrong while the status could still tell it.
    """

    async def begun() -> list[Turn]:
        found = await begin(desk, turns)
        records.begun(lambda: found[0].usage)
        return found

    if streamed:
        return await stream_patiently(begun, records)
    return Response(records.whole(await read_all(await begun())), content_type=JSON)


async def begin(desk: Desk, turns: Sequence[TurnRequest]) -> list[Turn]:
    """Have ``turns`` answered side by side; the connection closes them, whatever happens."""
    here, asking = visit(), caller()
    ids = [f"{here.id}.{number}" for number in range(len(turns))] if len(turns) > 1 else [here.id]
    return [
        here.held.enter_context(await desk.begin(turn, id, asking))
        for turn, id in zip(turns, ids, strict=True)  # noqa: A001
    ]


async def read_whole(turn: Turn) -> tuple[Piece, Finished]:
    """Read ``turn`` to its end and close it.

    Raises:
        TrillamaError: what ended the answer.
    """
    return joined(await _read(turn))


async def _read(turn: Turn) -> list[TurnEvent]:
    events: list[TurnEvent] = []
    while more := await turn.receive_many():
        events += more
    turn.close()
    return events


async def read_all(turns: Sequence[Turn]) -> list[list[TurnEvent]]:
    """Read all to their ends, side by side: one that nobody reads would have to pause.

    Raises:
        TrillamaError: what ended one of them.
    """
    if len(turns) == 1:
        return [await _read(turns[0])]
    source = Choices(turns)
    events: list[list[TurnEvent]] = [[] for _ in turns]
    while more := await source.receive_many():
        for chosen in more:
            events[chosen.index].append(chosen.event)
    source.close()
    return events


class Choices:
    """Several turns as one source."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = list(turns)
        self._running = dict(enumerate(turns))
        self._found: list[Chosen] = []
        self._error: Exception | None = None
        self._refused = False

    async def receive_many(
        self, tap: Callable[[Sequence[Chosen]], bool] | None = None
    ) -> Sequence[Chosen]:
        """Events of any of them; see :class:`~trillama.api.streaming.Source`."""
        self._refused = False
        while not (self._found or self._refused) and self._running:
            if self._error is not None:
                raise self._error
            async with trio.open_nursery() as nursery:
                for index in self._running:
                    nursery.start_soon(self._read, index, tap, nursery.cancel_scope)
        found, self._found = self._found, []
        return found

    async def _read(
        self,
        index: int,
        tap: Callable[[Sequence[Chosen]], bool] | None,
        scope: trio.CancelScope,
    ) -> None:
        """Wait for one of them; whoever has something first ends the waiting of all."""

        def pass_on(events: Sequence[TurnEvent]) -> bool:
            assert tap is not None
            self._refused |= not tap([Chosen(index, event) for event in events])
            return not self._refused

        try:
            events = await self._running[index].receive_many(pass_on if tap else None)
        except Exception as error:
            self._error = error
            events = ()
        self._found += [Chosen(index, event) for event in events]
        if any(isinstance(event, Finished) for event in events):
            del self._running[index]
        scope.cancel()

    def close(self) -> None:
        """Withdraw all."""
        for turn in self._turns:
            turn.close()


class Pending:
    """A source that is still being made, by a task that runs beside."""

    def __init__(self, begun: Callable[[], Awaitable[Sequence[Turn]]]) -> None:
        self._begun = begun
        self._source: Source[Event] | None = None
        self._first: Sequence[Event] = ()
        self._error: Exception | None = None
        self._ready = trio.Event()

    async def run(self) -> None:
        """Make it, and wait for its first event."""
        try:
            turns = await self._begun()
            self._source = turns[0] if len(turns) == 1 else Choices(turns)
            self._first = await self._source.receive_many()
        except Exception as error:
            self._error = error
        self._ready.set()

    async def wait(self) -> None:
        """Until it is there.

        Raises:
            Exception: why it never will be.
        """
        if not self._ready.is_set():
            await self._ready.wait()
        if self._error is not None:
            raise self._error

    async def receive_many(self, tap: Tap[Event] | None = None) -> Sequence[Event]:
        """See :class:`~trillama.api.streaming.Source`."""
        await self.wait()
        if self._first:
            first, self._first = self._first, ()
            return first
        assert self._source is not None
        return await self._source.receive_many(tap)

    def close(self) -> None:
        """Withdraw what there is; what is still being made ends with the request."""
        if self._source is not None:
            self._source.close()


async def stream_patiently(
    begun: Callable[[], Awaitable[Sequence[Turn]]], writer: Writer[Event]
) -> Response:
    """A response that streams what ``begun`` gives, begun at once or only soon.

    Raises:
        TrillamaError: trouble within ``SILENCE`` seconds and before the first event.
    """
    pending = Pending(begun)
    visit().nursery.start_soon(pending.run)
    with trio.move_on_after(streaming.SILENCE):
        await pending.wait()
    return Response(EventBody(pending, writer), content_type=writer.content_type)
