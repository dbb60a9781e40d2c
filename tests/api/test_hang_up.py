"""A client that leaves, in every phase of its request: everything it held is given back at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from tests.support.house import House, Wire, ask, connect, model
from trillama.engine.fake import babble
from trillama.engine.grammar import compiler

ENDLESS = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


@contextmanager
def gate() -> Iterator[threading.Event]:
    """Holds another thread; open when the test is left, however it is left."""
    opened = threading.Event()
    try:
        yield opened
    finally:
        opened.set()


async def say(house: House, **fields: Any) -> Wire:
    wire = await connect(house)
    await wire.send("POST", "/api/chat", json.dumps(ENDLESS | fields).encode())
    return wire


def running(house: House) -> int:
    return sum(runner.running for runner in house.server.pool.statistics().runners)


async def gone(house: House) -> None:
    """Wait until nothing of any request is left."""
    await house.until(house.quiet)


@pytest.fixture(params=["reset", "close", "half"])
def leave(request: pytest.FixtureRequest) -> Callable[[Wire], Any]:
    """The ways a client leaves: a reset, a close, and an end of sending alone."""

    async def go(wire: Wire) -> None:
        if request.param == "reset":
            wire.hang_up()
        elif request.param == "close":
            await wire.stream.aclose()
        else:
            await wire.stream.send_eof()

    return go


async def test_while_streaming(build: Callable[..., Any], leave: Callable[[Wire], Any]) -> None:
    """The sequence leaves the engine, the lease is released, and others go on."""
    house = await build(script=babble)
    wire = await say(house)
    await wire.until(b'"done":false')
    await leave(wire)
    await gone(house)

    assert (await ask(house, "GET", "/api/ps")).json()["models"]


async def test_while_waiting_for_the_whole(
    build: Callable[..., Any], leave: Callable[[Wire], Any]
) -> None:
    """The same for an answer that is not streamed."""
    house = await build(script=babble)
    wire = await say(house, stream=False)
    await house.until(lambda: running(house) == 1)
    await leave(wire)
    await gone(house)


async def test_while_the_model_loads(
    build: Callable[..., Any], leave: Callable[[Wire], Any]
) -> None:
    """Nobody is left in the queue; the load itself goes on for whoever asks again soon."""
    house = await build(script=babble)
    with gate() as opened:
        house.hooks.on_load = lambda path, params: opened.wait(10) and None
        wire = await say(house)
        await house.until(lambda: house.scheduler.statistics().waiting == 1)
        await leave(wire)
        await house.until(lambda: house.scheduler.statistics().waiting == 0)
    await gone(house)


async def test_while_a_grammar_is_compiled(
    build: Callable[..., Any], leave: Callable[[Wire], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is given back at once; the grammar is there for whoever asks again."""
    house = await build(script=babble)
    rehearsed = compiler._rehearsed
    with gate() as opened:
        monkeypatch.setattr(compiler, "_rehearsed", lambda m: opened.wait(10) and rehearsed(m))
        monkeypatch.setattr(compiler, "DEADLINE", 10)
        wire = await say(house, options={"regex": "[ab]{5}"})
        await house.until(lambda: house.scheduler.statistics().users == 1)
        await leave(wire)
        await house.until(lambda: house.scheduler.statistics().users == 0)
    await gone(house)


async def test_while_another_model_has_the_room(
    build: Callable[..., Any], leave: Callable[[Wire], Any]
) -> None:
    """A place in the queue for a model that cannot be loaded yet is given up."""
    house = await build(model("m"), model("other"), script=babble, max_loaded_models=1)
    first = await say(house)
    await first.until(b'"done":false')
    second = await say(house, model="other")
    await house.until(lambda: house.scheduler.statistics().waiting == 1)
    await leave(second)
    await house.until(lambda: house.scheduler.statistics().waiting == 0)
    first.hang_up()
    await gone(house)

    assert len(house.backend.models) == 1


async def test_while_waiting_for_a_sequence(
    build: Callable[..., Any], leave: Callable[[Wire], Any]
) -> None:
    """A job that waits in the engine's queue is struck from it."""
    house = await build(script=babble, num_parallel=1)
    first = await say(house)
    await first.until(b'"done":false')
    second = await say(house)
    await house.until(lambda: house.server.pool.statistics().runners[0].waiting == 1)
    await leave(second)
    await house.until(lambda: house.server.pool.statistics().runners[0].waiting == 0)
    first.hang_up()
    await gone(house)


async def test_while_the_prompt_is_computed(
    build: Callable[..., Any], leave: Callable[[Wire], Any]
) -> None:
    """A prefill stops at the next step, not at its end."""
    house = await build(script=babble, step_budget="16")
    await ask(house, "POST", "/api/chat", {"model": "m"})
    steps = threading.Semaphore(3)
    with gate() as opened:
        house.hooks.on_decode = lambda batch: (steps.acquire(timeout=0) or opened.wait(10)) and None
        before = house.backend.contexts[0].counters.tokens_decoded
        wire = await say(house, messages=[{"role": "user", "content": "y" * 1500}])
        await house.until(lambda: running(house) == 1 and not steps._value)
        await leave(wire)
        await house.until(lambda: house.scheduler.statistics().users == 0)
    await gone(house)

    assert house.backend.contexts[0].counters.tokens_decoded - before < 1500


async def test_with_half_a_body(build: Callable[..., Any], leave: Callable[[Wire], Any]) -> None:
    """A request that never came in full leaves nothing behind."""
    house = await build()
    wire = await connect(house)
    await wire.stream.send_all(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    await leave(wire)
    await gone(house)

    assert house.backend.models == []


async def test_many_leave_at_once_and_others_are_served(build: Callable[..., Any]) -> None:
    """Twenty hang-ups in the middle of their streams disturb nobody."""
    house = await build(script=babble)
    wires = [await say(house) for _ in range(20)]
    for wire in wires:
        await wire.until(b'"done":false')
    stays = await say(house, options={"num_predict": 50, "num_ctx": 200})
    for wire in wires:
        wire.hang_up()
    with trio.fail_after(10):
        reply = await stays.reply()
    await gone(house)

    assert reply.lines()[-1]["eval_count"] == 50


async def test_a_reader_that_reads_nothing_is_let_go(build: Callable[..., Any]) -> None:
    """A client that stays but reads nothing loses its sequence, its lease and its connection."""
    house = await build(script=babble, stall_timeout=300_000_000, context_length=500_000)
    wire = await say(house, options={"num_predict": -1})
    await wire.until(b'"done":false')
    await house.until(lambda: running(house) == 1)
    await gone(house)
    with pytest.raises((EOFError, trio.BrokenResourceError)), trio.fail_after(20):
        await wire.until(b"\r\n0\r\n\r\n")
