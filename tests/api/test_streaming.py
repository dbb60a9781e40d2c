"""Bodies of streamed answers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
import trio

from trillama.api.streaming import EventBody, stream
from trillama.base.errors import EngineError, PromptTooLong
from trillama.base.events import StopReason, Usage
from trillama.base.turns import Finished, Piece, TurnEvent
from trillama.wire.records import ChatRecords

END = Finished(reason=StopReason.STOP, usage=Usage())


class Scripted:
    """A source that gives what it is told, batch by batch."""

    def __init__(self, *batches: Sequence[TurnEvent] | Exception) -> None:
        self.batches = list(batches)
        self.closed = 0

    async def receive_many(self, tap: object = None) -> Sequence[TurnEvent]:
        await trio.lowlevel.checkpoint()
        batch = self.batches.pop(0) if self.batches else ()
        if isinstance(batch, Exception):
            raise batch
        return batch

    def close(self) -> None:
        self.closed += 1


async def read(source: Scripted) -> list[bytes]:
    response = await stream(source, ChatRecords("m"))
    async with response.response as body:
        return [chunk async for chunk in body]


async def test_events_that_wait_together_go_out_together() -> None:
    """One record for each token, one chunk for all that had piled up."""
    source = Scripted([Piece("a")], [Piece("b"), Piece("c")], [Piece("d"), END])
    chunks = await read(source)

    assert [chunk.count(b"\n") for chunk in chunks] == [1, 2, 2]
    said = [json.loads(line)["message"]["content"] for line in b"".join(chunks).splitlines()]
    assert said == ["a", "b", "c", "d", ""]
    assert source.closed == 1


async def test_trouble_before_the_first_event_is_raised() -> None:
    """No response was begun, so the error can still choose the status."""
    with pytest.raises(PromptTooLong):
        await stream(Scripted(PromptTooLong(9, 4)), ChatRecords("m"))


@pytest.mark.parametrize(
    ("error", "told"),
    [(EngineError("it broke"), "it broke"), (RuntimeError("secret"), "internal server error")],
)
async def test_later_trouble_is_the_last_line(error: Exception, told: str) -> None:
    """The stream ends with an error line; a bug's text is not shown."""
    source = Scripted([Piece("a")], error, [Piece("never")])
    *_, last = await read(source)

    assert told in json.loads(last)["error"]
    assert b"secret" not in last
    assert source.closed == 1


async def test_leaving_early_closes_the_source(autojump_clock: trio.testing.MockClock) -> None:
    """A body that is cancelled while it waits gives everything back."""

    class Silent(Scripted):
        async def receive_many(self, tap: object = None) -> Sequence[TurnEvent]:
            if self.batches:
                return await super().receive_many()
            await trio.sleep_forever()
            raise AssertionError

    source = Silent([Piece("a")])
    response = await stream(source, ChatRecords("m"))
    with trio.move_on_after(5) as scope:
        async with response.response as body:
            async for _ in body:
                assert source.closed == 0

    assert scope.cancelled_caught
    assert source.closed == 1


async def test_a_body_that_is_never_read_holds_nothing_of_its_own() -> None:
    """Making a body opens nothing: what it reads from is held by the connection."""
    source = Scripted()
    EventBody(source, ChatRecords("m"), [Piece("a")])

    assert source.closed == 0
