"""Who waits for a model: bounded, cancellable, told of every trouble, and of the end.

Tests name ``autojump_clock`` themselves: pytest-trio takes a clock from a test's own arguments.
"""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.stub_pool import Start, StubPool, names, spec, starter, use
from trillama.base.durations import SECOND
from trillama.base.errors import (
    Busy,
    CorruptModel,
    ModelLoadError,
    ShuttingDown,
    TrillamaError,
)
from trillama.nursery_scheduler import Lease, Scheduler, SchedulerLimits


@pytest.fixture
def pool() -> StubPool:
    return StubPool()


@pytest.fixture
def start(pool: StubPool, nursery: trio.Nursery) -> Start:
    return starter(pool, nursery)


# -- the queue ------------------------------------------------------------------------------------


async def test_the_queue_is_bounded(
    start: Start, pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """One too many is told to come back; whoever finds a ready model is not counted."""
    scheduler = await start(max_queue=2)
    await use(scheduler, spec("r"), 0)
    for _ in range(2):
        nursery.start_soon(use, scheduler, spec("a"), 1)
    await wait_all_tasks_blocked()
    with pytest.raises(Busy) as refusal:
        await scheduler.acquire(spec("b"))
    message = "server busy, please try again.  maximum pending requests exceeded"
    assert refusal.value.message == message
    assert 1 <= refusal.value.retry_after <= 60
    await use(scheduler, spec("r"), 0)
    assert scheduler.statistics().totals.refused == 1
    assert "load b" not in pool.diary


async def test_a_client_that_leaves_the_queue_is_forgotten(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """Nothing is loaded for a request whose client has gone."""
    scheduler = await start(max_loaded=1)
    lease = await scheduler.acquire(spec("a"))
    with trio.move_on_after(5):
        await scheduler.acquire(spec("b"))
    assert scheduler.statistics().waiting == 0
    await use(scheduler, spec("a"), 0)
    lease.release()
    await trio.sleep(10)
    assert pool.diary == ["load a"]


async def test_a_client_that_leaves_with_the_lease_in_hand(
    start: Start, autojump_clock: MockClock
) -> None:
    """A lease granted in the moment of a cancellation is given back."""
    scheduler = await start()
    await use(scheduler, spec("a"), 0)
    with trio.CancelScope() as scope:
        scope.cancel()
        await scheduler.acquire(spec("a"))
    assert scope.cancelled_caught
    assert scheduler.statistics().users == 0
    assert names(scheduler) == {"a"}


async def test_a_leaving_client_does_not_end_a_load_others_wait_for(
    start: Start, pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """The client that began the load may go; the others get the model from it."""
    scheduler = await start()
    with trio.move_on_after(0.5):
        nursery.start_soon(use, scheduler, spec("a"), 100)
        await scheduler.acquire(spec("a"))
    await trio.sleep(10)
    assert scheduler.statistics().users == 1
    assert pool.diary == ["load a"]


async def test_a_deserted_load_lingers_then_ends(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """A load nobody waits for goes on for a moment, then gives its memory back."""
    pool.seconds = 100
    scheduler = await start(linger=5 * SECOND)
    with trio.move_on_after(10):
        await scheduler.acquire(spec("a"))
    await trio.sleep(4.9)
    assert pool.diary == ["load a"]
    await trio.sleep(0.2)
    assert pool.diary == ["load a", "give up a"]
    assert scheduler.statistics().totals.failed_loads == 0
    assert scheduler.statistics().loading == ()


async def test_a_client_that_asks_again_finds_its_load(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """A client whose patience is shorter than the load gets there by asking again."""
    pool.seconds = 100
    scheduler = await start(linger=5 * SECOND)
    for _ in range(10):
        with trio.move_on_after(12):
            await use(scheduler, spec("a"), 0)
        await trio.sleep(1)
    assert pool.diary == ["load a"]
    assert names(scheduler) == {"a"}


async def test_asking_while_a_deserted_load_is_given_up(
    start: Start, pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """Who comes too late for a load gets a new one, not its end."""
    pool.seconds = 100
    scheduler = await start(linger=0)
    with trio.move_on_after(10):
        await scheduler.acquire(spec("a"))
    await use(scheduler, spec("a"), 0)
    assert pool.diary == ["load a", "give up a", "load a"]


# -- trouble --------------------------------------------------------------------------------------


async def test_a_failed_load_is_told_to_all_who_wait(
    start: Start, pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """Each waiter gets the error in its own class, other models are untouched, a retry loads."""
    scheduler = await start()
    keeper = await scheduler.acquire(spec("r"))
    pool.trouble = CorruptModel("it lies about its sizes")
    caught: list[TrillamaError] = []

    async def attempt() -> None:
        try:
            await scheduler.acquire(spec("a"))
        except TrillamaError as error:
            caught.append(error)

    for _ in range(3):
        nursery.start_soon(attempt)
    await trio.sleep(2)
    assert [(type(error), error.message) for error in caught] == [
        (CorruptModel, "it lies about its sizes")
    ] * 3
    assert len({id(error) for error in caught}) == 3
    assert names(scheduler) == {"r"}
    pool.trouble = None
    await use(scheduler, spec("a"), 0)
    assert names(scheduler) == {"r", "a"}
    assert scheduler.statistics().totals.failed_loads == 1
    keeper.release()


async def test_a_failed_load_lets_the_next_in(
    start: Start, pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """The request behind a load that failed gets its turn."""
    scheduler = await start()

    async def attempt() -> None:
        with pytest.raises(ModelLoadError):
            await scheduler.acquire(spec("a"))
        pool.trouble = None

    pool.trouble = ModelLoadError("no")
    nursery.start_soon(attempt)
    await wait_all_tasks_blocked()
    with trio.fail_after(5):
        await use(scheduler, spec("b"), 0)
    assert pool.diary == ["load a", "load b"]


async def test_a_load_without_progress_is_given_up(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """The limit is on silence, and the text says so."""
    pool.seconds, pool.silent = 1000, True
    scheduler = await start(load_timeout=90 * SECOND)
    before = trio.current_time()
    with pytest.raises(ModelLoadError, match=r"no progress for 1m30s"):
        await scheduler.acquire(spec("a"))
    assert trio.current_time() - before == pytest.approx(90)
    assert pool.diary == ["load a", "give up a"]


async def test_a_slow_load_that_progresses_is_waited_for(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """Progress starts the limit anew; no limit waits for ever."""
    pool.seconds = 800
    scheduler = await start(load_timeout=90 * SECOND)
    await use(scheduler, spec("a"), 0)
    assert names(scheduler) == {"a"}


async def test_load_timeout_zero_means_none(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """Zero switches the limit off."""
    pool.seconds, pool.silent = 1e6, True
    scheduler = await start(load_timeout=0)
    await use(scheduler, spec("a"), 0)
    assert names(scheduler) == {"a"}


async def test_a_runner_that_died_is_replaced(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """A dead engine is dropped with its users' leases still out; the next request reloads."""
    scheduler = await start()
    with await scheduler.acquire(spec("a")) as lease:
        pool.runners[0].over.set()
        await wait_all_tasks_blocked()
        assert scheduler.residents() == []
        with await scheduler.acquire(spec("a")) as fresh:
            assert fresh.runner is not lease.runner
    assert pool.diary == ["load a", "close a", "load a"]
    assert scheduler.statistics().users == 0


# -- the end --------------------------------------------------------------------------------------


async def test_drain_refuses_the_new_and_waits_for_the_old(
    start: Start, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """After begin_drain nothing new gets in; what works or waits comes to its end."""
    scheduler = await start()
    nursery.start_soon(use, scheduler, spec("a"), 20)
    await wait_all_tasks_blocked()
    scheduler.begin_drain()
    with pytest.raises(ShuttingDown):
        await scheduler.acquire(spec("a"))
    before = trio.current_time()
    assert await scheduler.wait_drained(before + 30)
    assert trio.current_time() - before == pytest.approx(21)


async def test_drain_ends_what_is_left_at_its_deadline(
    start: Start, pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """At the deadline waiters are told and running answers are ended by their runners."""
    scheduler = await start(max_loaded=1)
    nursery.start_soon(use, scheduler, spec("a"), 1000)
    await trio.sleep(2)
    told: list[type[Exception]] = []

    async def attempt() -> None:
        try:
            await scheduler.acquire(spec("b"))
        except ShuttingDown as error:
            told.append(type(error))

    nursery.start_soon(attempt)
    await wait_all_tasks_blocked()
    scheduler.begin_drain()
    before = trio.current_time()
    assert not await scheduler.wait_drained(before + 30)
    assert trio.current_time() - before == pytest.approx(30)
    await wait_all_tasks_blocked()
    assert told == [ShuttingDown]
    assert pool.runners[0].drained


async def test_cancelling_run_closes_everything(
    pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """The end of the scheduler closes loaded and loading models and tells who waits."""
    told: list[type[Exception]] = []
    leases: list[Lease] = []
    scheduler = Scheduler(pool, SchedulerLimits(max_loaded=2))  # type: ignore[arg-type]

    async def attempt(name: str) -> None:
        try:
            leases.append(await scheduler.acquire(spec(name)))
        except ShuttingDown as error:
            told.append(type(error))

    async with trio.open_nursery() as inner:
        await inner.start(scheduler.run)
        await attempt("a")
        pool.seconds = 1e6
        nursery.start_soon(attempt, "b")
        await wait_all_tasks_blocked()
        nursery.start_soon(attempt, "c")
        await trio.sleep(1)
        inner.cancel_scope.cancel()
    await wait_all_tasks_blocked()
    assert sorted(pool.diary) == ["close a", "give up b", "load a", "load b"]
    assert told == [ShuttingDown] * 2
    with pytest.raises(ShuttingDown):
        await scheduler.acquire(spec("a"))
    leases[0].release()
    assert scheduler.statistics().users == 0
