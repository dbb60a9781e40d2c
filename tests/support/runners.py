"""Real runners over the fake engine: jobs, gates in the engine thread, and what is left after."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import trio

from trillama.base.events import Done, Text
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Policy
from trillama.engine.base import Batch, ContextParams
from trillama.engine.fake import FakeVocabulary
from trillama.runner_pool import Answer, Runner, RunnerPool, RunnerSpec

PATIENCE = 20.0
"""Real seconds; only a broken test waits that long."""

_numbers = count()
_vocabulary = FakeVocabulary()


def fake_spec(name: str = "m", *, cells: int = 4096, max_live: int = 0, **more: Any) -> RunnerSpec:
    """A runner without prefix cache, so that what is left in the pool is a leak."""
    return RunnerSpec(
        key=f"/{name}",
        name=name,
        path=f"/{name}",
        context=ContextParams(cells=cells, batch=512, micro_batch=64),
        policy=Policy(max_live=max_live, prefix_cache=False),
        **more,
    )


def job(text: str, *, limit: int = 4096, **options: object) -> Job:
    """A greedy job with an id of its own."""
    return Job(
        id=f"job {next(_numbers)}",
        prompt=_vocabulary.tokenize(text),
        options=Options(temperature=0, **options),  # type: ignore[arg-type]
        limit=limit,
    )


@asynccontextmanager
async def running(pool: RunnerPool, spec: RunnerSpec) -> AsyncIterator[Runner]:
    """A started runner, closed at the end."""
    async with trio.open_nursery() as nursery:
        runner = await pool.start(spec, nursery)
        try:
            yield runner
        finally:
            await runner.aclose()


async def read(answer: Answer) -> tuple[str, Done]:
    """The whole text of an answer, and its end."""
    text = ""
    async for event in answer:
        if isinstance(event, Text):
            text += event.text
        else:
            return text, event
    raise AssertionError("the answer has no end")


async def until(condition: Callable[[], object], runner: Runner) -> None:
    """Wait for something the engine thread brings about."""
    with trio.fail_after(PATIENCE):
        while not condition():
            await settled(runner)


async def admitted(answer: Answer) -> None:
    """Wait until the engine has taken the job of an answer, even if it is held after that."""
    with trio.fail_after(PATIENCE):
        while not answer.admitted:
            await trio.lowlevel.checkpoint()


async def idle(runner: Runner) -> None:
    """Wait until the engine has nothing left to do and trio has heard of all it did."""
    await settled(runner)
    await until(lambda: not runner._machine.busy, runner)
    await settled(runner)


async def settled(runner: Runner) -> None:
    """Wait until the engine thread has taken every command so far, and trio its events."""
    done = trio.Event()
    runner._thread.post(runner._thread.tell, done.set)
    with trio.fail_after(PATIENCE):
        await done.wait()


class Gate:
    """Holds the engine thread in a decode; set as a hook of the fake backend."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._opened = threading.Event()
        self._condition: Callable[[Batch], object] = lambda batch: False

    def close_at(self, condition: Callable[[Batch], object]) -> None:
        """Hold the first decode that meets ``condition``."""
        self._condition = condition

    def open(self) -> None:
        """Let the engine go on, and hold nothing any more."""
        self._condition = lambda batch: False
        self._opened.set()

    def __call__(self, *what: object) -> None:
        if self._condition(what[0]):  # type: ignore[arg-type]
            self._token.run_sync_soon(self.reached.set)
            assert self._opened.wait(PATIENCE)
