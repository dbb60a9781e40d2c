"""An engine thread carries out what is posted, sleeps when idle, and always closes its machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trillama.base.events import Admitted, StepEvent
from trillama.engine.threads import DEEP_STACK, LEAST_STACK, EngineThread, StackPool

PATIENCE = 20.0


class Machine:
    """Steps as often as it was told to; writes a diary."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.todo = 0
        self.trouble: Exception | None = None
        self.fails_to_open = False
        self.linger = 0.0

    @property
    def busy(self) -> bool:
        return self.todo > 0

    def open(self) -> None:
        self.diary.append(f"open on {threading.current_thread().name}")
        if self.fails_to_open:
            raise OSError("no such file")

    def step(self) -> list[StepEvent]:
        self.diary.append("step")
        self.todo -= 1
        if self.trouble is not None:
            raise self.trouble
        return [Admitted(str(self.todo), 0, 0), Admitted(str(self.todo), 1, 0)]

    def close(self) -> None:
        self.diary.append("close")

    def work(self, steps: int) -> None:
        self.diary.append(f"work {steps}")
        self.todo += steps


class Watcher:
    """Passes on what it is told, in order."""

    def __init__(self) -> None:
        self.told, self.heard = trio.open_memory_channel[object](100)

    def opened(self) -> None:
        self.told.send_nowait("opened")

    def deliver(self, events: list[StepEvent]) -> None:
        self.told.send_nowait(events)

    def broke(self, error: Exception) -> None:
        self.told.send_nowait(error)

    def closed(self) -> None:
        self.told.send_nowait("closed")

    async def hear(self) -> object:
        with trio.fail_after(PATIENCE):
            return await self.heard.receive()


async def test_the_life_of_a_thread() -> None:
    """It opens, obeys, delivers each step's events in one piece, and closes when told to."""
    machine, watcher = Machine(), Watcher()
    thread = EngineThread("x", machine, watcher)
    thread.start()
    assert await watcher.hear() == "opened"
    thread.post(machine.work, 2)
    assert [len(await watcher.hear()) for _ in range(2)] == [2, 2]  # type: ignore[arg-type]
    thread.stop()
    assert await watcher.hear() == "closed"
    assert machine.diary == ["open on engine:x", "work 2", "step", "step", "close"]


async def test_an_idle_machine_is_not_stepped() -> None:
    """Commands that leave nothing to do cause no step: the thread sleeps in its queue."""
    machine, watcher = Machine(), Watcher()
    thread = EngineThread("x", machine, watcher)
    thread.start()
    for _ in range(3):
        thread.post(machine.work, 0)
    thread.stop()
    assert [await watcher.hear() for _ in range(2)] == ["opened", "closed"]
    assert "step" not in machine.diary


async def test_commands_come_before_the_next_step() -> None:
    """What was posted while a step runs is carried out before the next one."""
    machine, watcher = Machine(), Watcher()
    inside, go_on = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def hold() -> None:
        token.run_sync_soon(inside.set)
        assert go_on.wait(PATIENCE)

    thread = EngineThread("x", machine, watcher)
    thread.start()
    thread.post(machine.work, 2)
    thread.post(hold)
    with trio.fail_after(PATIENCE):
        await inside.wait()
    for _ in range(3):
        thread.post(machine.work, 0)
    thread.stop()
    go_on.set()
    while await watcher.hear() != "closed":
        pass
    assert machine.diary[1:] == ["work 2", "work 0", "work 0", "work 0", "close"]


async def test_a_machine_may_wait_for_who_is_expected() -> None:
    """While it lingers a step waits for the next command, and no longer than that."""
    machine, watcher = Machine(), Watcher()
    machine.linger = PATIENCE
    thread = EngineThread("x", machine, watcher)
    thread.start()
    assert await watcher.hear() == "opened"
    thread.post(machine.work, 1)
    thread.post(setattr, machine, "linger", 0.0)
    with trio.fail_after(PATIENCE / 2):
        await watcher.hear()
    thread.stop()
    assert await watcher.hear() == "closed"
    assert machine.diary[1:] == ["work 1", "step", "close"]


@pytest.mark.parametrize("phase", ["open", "step"])
async def test_a_machine_that_broke_is_closed_only_when_told(phase: str) -> None:
    """The error is told at once, the machine stays until stop: others may still read from it."""
    machine, watcher = Machine(), Watcher()
    machine.fails_to_open = phase == "open"
    machine.trouble = ZeroDivisionError("step")
    thread = EngineThread("x", machine, watcher)
    thread.start()
    if phase == "step":
        assert await watcher.hear() == "opened"
        thread.post(machine.work, 5)
    assert isinstance(await watcher.hear(), OSError if phase == "open" else ZeroDivisionError)
    thread.post(machine.work, 1)
    assert "close" not in machine.diary
    thread.stop()
    assert await watcher.hear() == "closed"
    assert machine.diary.count("step") == (phase == "step")
    assert machine.diary[-1] == "close"


def test_a_finished_trio_loop_ends_the_thread() -> None:
    """A thread whose trio loop is gone closes its machine instead of waiting for ever."""
    machine = Machine()

    async def main() -> EngineThread:
        watcher = Watcher()
        thread = EngineThread("x", machine, watcher)
        thread.start()
        await watcher.hear()
        return thread

    thread = trio.run(main)
    thread.post(machine.work, 1)
    thread._thread.join(PATIENCE)
    assert not thread.alive
    assert machine.diary[-1] == "close"


# -- threads with deep stacks ---------------------------------------------------------------------


@pytest.fixture
def pool() -> Iterator[StackPool]:
    pool = StackPool("deep", threads=2)
    yield pool
    pool.close()


async def test_results_and_errors_come_back(pool: StackPool) -> None:
    """A call runs on a thread of the pool; its value or its error is the caller's."""
    ended: list[int] = []
    name = await pool.run(lambda: threading.current_thread().name, lambda: ended.append(1))
    assert name.startswith("deep:")
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 // 0, lambda: ended.append(2))
    assert ended == [1, 2]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every stack size that is set; asking for the size without one would set it too."""
    real, sizes = threading.stack_size, []

    def record(size: int) -> int:
        sizes.append(size)
        return real(size)

    monkeypatch.setattr(threading, "stack_size", record)
    return sizes


async def test_the_deep_stack_is_theirs_alone(pool: StackPool, sizes: list[int]) -> None:
    """The stack size is set while the threads are made and restored before anybody else's."""
    await pool.run(lambda: None, lambda: None)
    assert sizes == [DEEP_STACK, 0]


async def test_stacks_are_smaller_where_there_is_no_room(
    pool: StackPool, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that refuses such stacks gets smaller ones, not an outage."""
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if sizes[-1] == DEEP_STACK:
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert await pool.run(lambda: 42, lambda: None) == 42
    assert sizes == [DEEP_STACK, 0, LEAST_STACK, 0]


async def test_a_cancelled_call_is_abandoned(pool: StackPool) -> None:
    """Cancelling returns at once; ``done`` comes when the thread has really let go."""
    inside, done, go_on = trio.Event(), trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def work() -> None:
        token.run_sync_soon(inside.set)
        assert go_on.wait(PATIENCE)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.run, work, done.set)
            await inside.wait()
            nursery.cancel_scope.cancel()
        assert not done.is_set()
        go_on.set()
        await done.wait()


async def test_a_call_cancelled_in_the_queue_is_skipped() -> None:
    """What nobody waits for any more is not computed, but still accounted for."""
    pool = StackPool("deep", threads=1)
    go_on, ran, done = threading.Event(), [], trio.Event()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.run, lambda: go_on.wait(PATIENCE), lambda: None)
            await wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                scope.cancel()
                await pool.run(lambda: ran.append(1), done.set)
            go_on.set()
        await done.wait()
    pool.close()
    assert ran == []
