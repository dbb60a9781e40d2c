"""One terminal event ends every accepted request, in every dialect, whatever fails where."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.dialects import DIALECTS, terminals
from tests.support.house import House, Reply, ask, model
from trillama.api import answering, desk, turn
from trillama.api.answering import Choices
from trillama.api.prompting import Prompter
from trillama.base.errors import EngineError
from trillama.engine.fake import count
from trillama.nursery_scheduler import Scheduler
from trillama.runner_pool import Answer, Runner
from trillama.wire.anthropic.records import MessageRecords
from trillama.wire.openai.records import ChoiceRecords
from trillama.wire.openai.response_records import ResponseRecords
from trillama.wire.records import Records

POINTS: dict[str, tuple[Any, str]] = {
    "finding the model": (desk.Desk, "find"),
    "waiting for the model": (Scheduler, "acquire"),
    "rendering": (Prompter, "render"),
    "tokenising": (Runner, "tokenize"),
    "submitting": (Runner, "submit_nowait"),
    "beginning": (desk.Desk, "begin"),
    "reading": (Answer, "receive_many"),
    "reading the turn": (turn.Turn, "receive_many"),
    "reading of several": (Choices, "_read"),
    "parsing": (turn.Turn, "_parse"),
    "joining": (answering, "joined"),
}
WRITERS = (Records, ChoiceRecords, ResponseRecords, MessageRecords)


class Fault(Exception):
    """Nothing of ours: what a bug would raise."""


class Trouble:
    """Makes the n-th call of a function fail, after whatever it waits for.

    Attributes:
        came: it did fail.
    """

    def __init__(self, number: int, error: type[Exception]) -> None:
        self.came = False
        self._left = number
        self._error = error

    def strike(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.came = True
            raise self._error("made to fail")

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` with the fault in it."""

        @functools.wraps(function)
        async def later(*args: Any, **fields: Any) -> Any:
            found = await function(*args, **fields)
            try:
                self.strike()
            except BaseException:
                if hasattr(found, "close"):
                    found.close()  # the caller never gets it
                elif hasattr(found, "release"):
                    found.release()
                raise
            return found

        @functools.wraps(function)
        def now(*args: Any, **fields: Any) -> Any:
            self.strike()
            return function(*args, **fields)

        return later if inspect.iscoroutinefunction(function) else now


@contextmanager
def failing(points: list[tuple[Any, str]], trouble: Trouble) -> Iterator[None]:
    """``trouble`` in each of these functions."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in points:
            patch.setattr(owner, name, trouble.around(getattr(owner, name)))
        yield


async def tried(house: House, dialect: str, stream: bool) -> Reply:
    path, fields = DIALECTS[dialect]
    with capture_logs():  # nobody reads them, and tracebacks take long to draw
        return await ask(house, "POST", path, {"model": "m", "stream": stream, **fields})


@pytest.mark.parametrize("stream", [True, False], ids=("stream", "whole"))
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_one_end_whatever_fails(
    build: Callable[..., Any], dialect: str, stream: bool
) -> None:
    """At every place where the request waits or is worked on, at its first and later calls: by an
    error of ours or a bug. Afterwards nothing of the request is left, and the next one works."""
    house = await build(script=count(24))
    places = [[place] for place in POINTS.values()]
    places.append([(writer, "write") for writer in WRITERS])
    places.append([(writer, "whole") for writer in WRITERS if hasattr(writer, "whole")])
    came = 0
    for points in places:
        for number in (1, 2, 3):
            trouble = Trouble(number, Fault if number == 2 else EngineError)
            with failing(points, trouble):
                reply = await tried(house, dialect, stream)
            assert terminals(reply) == 1, (points, number, reply.body)
            assert b"made to fail" not in reply.body or number != 2, "a bug's insides were told"
            await house.until(house.at_rest)
            came += trouble.came
    assert came >= 10
    assert terminals(await tried(house, dialect, stream)) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_one_end_whichever_step_fails(build: Callable[..., Any], dialect: str) -> None:
    """The engine breaks in its first, second, … step; then the model is loaded again."""
    house = await build(model("m"), script=count(6))
    await tried(house, dialect, True)
    for number in range(1, 9):
        trouble = Trouble(number, RuntimeError)
        house.hooks.on_decode = lambda batch, trouble=trouble: trouble.strike()
        reply = await tried(house, dialect, True)
        house.hooks.on_decode = None
        assert terminals(reply) == 1, (number, reply.body)
        await house.until(house.at_rest)


def test_the_count_of_ends_can_fail() -> None:
    """None and two are seen as such."""

    def streamed(*events: str) -> Reply:
        body = "".join(f"{event}\n\n" for event in events).encode()
        return Reply(200, {"content-type": "text/event-stream"}, body)

    chunk = 'data: {"choices":[]}'
    assert terminals(streamed(chunk)) == 0
    assert terminals(streamed(chunk, "data: [DONE]")) == 1
    assert terminals(streamed('data: {"error":{}}', "data: [DONE]")) == 2
    assert terminals(streamed('event: response.completed\ndata: {"x":"failed"}')) == 1
    assert json.loads('{"a":1}')
