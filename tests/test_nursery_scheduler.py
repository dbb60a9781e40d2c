"""The scheduler loads on demand, keeps what is used, and lets nobody wait for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trillama.base.durations import FOREVER, MINUTE, SECOND
from trillama.base.errors import (
    Busy,
    CorruptModel,
    ModelLoadError,
    ShuttingDown,
    TrillamaError,
)
from trillama.engine.base import ContextParams, LoadParams
from trillama.nursery_scheduler import (
    Lease,
    Scheduler,
    SchedulerLimits,
)
from trillama.runner_pool import RunnerSpec

NOW = 1_800_000_000 * SECOND


def spec(name: str, cells: int = 4096, gpu_layers: int = -1) -> RunnerSpec:
    return RunnerSpec(
        key=f"/{name}",
        name=name,
        path=f"/{name}",
        load=LoadParams(gpu_layers=gpu_layers),
        context=ContextParams(cells=cells),
    )


# -- the scheduler over a pool that only pretends to load -----------------------------------------


class StubRunner:
    """Enough of a runner: it can be over, drained and closed."""

    def __init__(self, wanted: RunnerSpec, diary: list[str]) -> None:
        self.spec = wanted
        self.facts = SimpleNamespace(size=1000)
        self.limits = SimpleNamespace(cells=wanted.context.cells)
        self.over = trio.Event()
        self.drained = False
        self._diary = diary

    async def wait_over(self) -> None:
        await self.over.wait()

    async def drain(self, deadline: float) -> bool:
        self.drained = True
        return False

    async def aclose(self) -> None:
        self._diary.append(f"close {self.spec.name}")


@dataclass
class StubPool:
    """Loads take ``seconds`` of trio's time, reported in ten parts; ``trouble`` fails them."""

    seconds: float = 1.0
    trouble: TrillamaError | None = None
    silent: bool = False
    diary: list[str] = field(default_factory=list)
    runners: list[StubRunner] = field(default_factory=list)

    async def start(
        self, wanted: RunnerSpec, nursery: trio.Nursery, on_progress: Callable[[float], None]
    ) -> StubRunner:
        self.diary.append(f"load {wanted.name}")
        try:
            for tenth in range(10):
                await trio.sleep(self.seconds / 10)
                if not self.silent:
                    on_progress((tenth + 1) / 10)
        except trio.Cancelled:
            self.diary.append(f"give up {wanted.name}")
            raise
        if self.trouble is not None:
            raise self.trouble
        runner = StubRunner(wanted, self.diary)
        self.runners.append(runner)
        return runner


@pytest.fixture
def pool() -> StubPool:
    return StubPool()


Start = Callable[..., Awaitable[Scheduler]]


@pytest.fixture
def start(pool: StubPool, nursery: trio.Nursery) -> Start:
    """Start a scheduler over the stub pool; keywords are its limits.

    Tests name ``autojump_clock`` themselves: pytest-trio takes a clock from a test's own
    arguments only.
    """

    async def begin(**limits: int) -> Scheduler:
        scheduler = Scheduler(pool, SchedulerLimits(**limits), wall_clock=lambda: NOW)  # type: ignore[arg-type]
        await nursery.start(scheduler.run)
        return scheduler

    return begin


async def use(
    scheduler: Scheduler, wanted: RunnerSpec, seconds: float, keep_alive: int | None = None
) -> None:
    """Hold a lease for a while."""
    with await scheduler.acquire(wanted, keep_alive):
        await trio.sleep(seconds)


def names(scheduler: Scheduler) -> set[str]:
    return {resident.name for resident in scheduler.residents()}


async def test_a_model_is_loaded_on_demand(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """The first request loads, later ones use what is there, and both learn how long it took."""
    scheduler = await start()
    first = await scheduler.acquire(spec("a"))
    second = await scheduler.acquire(spec("a"))
    assert first.runner is second.runner
    assert first.load_ns > 0
    assert second.load_ns > 0
    assert pool.diary == ["load a"]
    assert scheduler.statistics().users == 2
    assert "a ready x2" in repr(scheduler)


async def test_waiters_share_a_load(
    start: Start, pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """Everybody who asks while a model loads gets it from that one load."""
    scheduler = await start()
    for _ in range(5):
        nursery.start_soon(use, scheduler, spec("a"), 10)
    await trio.sleep(0.55)
    statistics = scheduler.statistics()
    assert (statistics.waiting, statistics.loading) == (5, (("/a", 0.5),))
    await trio.sleep(1)
    assert (scheduler.statistics().waiting, scheduler.statistics().users) == (0, 5)
    assert pool.diary == ["load a"]


async def test_release_again_is_harmless(start: Start, autojump_clock: MockClock) -> None:
    """A lease counts once however often it is released."""
    scheduler = await start()
    keeper = await scheduler.acquire(spec("a"))
    with await scheduler.acquire(spec("a")) as lease:
        lease.release()
    lease.release()
    assert scheduler.statistics().users == 1
    keeper.release()
    assert scheduler.statistics().users == 0


# -- keep-alive -----------------------------------------------------------------------------------


async def test_keep_alive_counts_from_the_last_release(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """An idle model goes after its keep-alive; a use in between starts the time anew."""
    scheduler = await start(keep_alive=60 * SECOND)
    await use(scheduler, spec("a"), 1000)
    await trio.sleep(50)
    await use(scheduler, spec("a"), 0)
    await trio.sleep(59.9)
    assert names(scheduler) == {"a"}
    await trio.sleep(0.2)
    assert names(scheduler) == set()
    assert pool.diary == ["load a", "close a"]
    assert scheduler.statistics().totals.expired == 1


async def test_keep_alive_changes_only_when_a_request_says_so(
    start: Start, autojump_clock: MockClock
) -> None:
    """A request with keep_alive changes the model's; one without leaves the last value."""
    scheduler = await start(keep_alive=60 * SECOND)
    await use(scheduler, spec("a"), 0, keep_alive=600 * SECOND)
    await use(scheduler, spec("a"), 0)
    await trio.sleep(599)
    assert names(scheduler) == {"a"}
    await use(scheduler, spec("a"), 0, keep_alive=10 * SECOND)
    await trio.sleep(10.1)
    assert names(scheduler) == set()


async def test_keep_alive_zero_unloads_after_the_answer(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """Zero means: once idle, and not before."""
    scheduler = await start()
    keeper = await scheduler.acquire(spec("a"))
    await use(scheduler, spec("a"), 0, keep_alive=0)
    assert names(scheduler) == {"a"}
    keeper.release()
    await wait_all_tasks_blocked()
    assert pool.diary == ["load a", "close a"]


async def test_forever_never_expires_but_yields_to_others(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """A model kept for ever stays while there is room, and goes when the room is needed."""
    scheduler = await start(max_loaded=1)
    await use(scheduler, spec("a"), 0, keep_alive=FOREVER)
    await trio.sleep(1e9)
    assert names(scheduler) == {"a"}
    await use(scheduler, spec("b"), 0)
    assert pool.diary == ["load a", "close a", "load b"]
    assert scheduler.statistics().totals.evicted == 1


async def test_a_request_at_the_very_moment_of_expiry_wins(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """Whoever gets the lease keeps the model, even if its time was up in the same instant."""
    scheduler = await start(keep_alive=10 * SECOND)
    await use(scheduler, spec("a"), 0)
    await trio.sleep(10)
    with await scheduler.acquire(spec("a")) as lease:
        before = list(pool.diary)
        await trio.sleep(100)
        assert pool.diary == before
        assert lease.runner is pool.runners[-1]


async def test_expire_an_idle_model(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """An idle model told to go is gone at once; one that is not there is no error."""
    scheduler = await start()
    await use(scheduler, spec("a"), 0)
    assert scheduler.expire("/a")
    await wait_all_tasks_blocked()
    assert pool.diary == ["load a", "close a"]
    assert not scheduler.expire("/a")


async def test_expire_a_busy_model(start: Start, pool: StubPool, autojump_clock: MockClock) -> None:
    """A busy model told to go is shown as stopping and goes when its last user leaves."""
    scheduler = await start()
    one, two = await scheduler.acquire(spec("a")), await scheduler.acquire(spec("a"))
    scheduler.expire("/a")
    [resident] = scheduler.residents()
    assert resident.stopping
    assert resident.expires_at == NOW
    one.release()
    await wait_all_tasks_blocked()
    assert names(scheduler) == {"a"}
    two.release()
    await wait_all_tasks_blocked()
    assert pool.diary == ["load a", "close a"]


async def test_a_new_keep_alive_calls_a_stopping_model_back(
    start: Start, autojump_clock: MockClock
) -> None:
    """A request joins a stopping model; only one that carries a keep_alive keeps it."""
    scheduler = await start()
    keeper = await scheduler.acquire(spec("a"))
    scheduler.expire("/a")
    await use(scheduler, spec("a"), 0)
    assert scheduler.residents()[0].stopping
    await use(scheduler, spec("a"), 0, keep_alive=MINUTE)
    assert not scheduler.residents()[0].stopping
    keeper.release()
    await trio.sleep(59)
    assert names(scheduler) == {"a"}


async def test_residents_tell_wall_clock_expiry(start: Start, autojump_clock: MockClock) -> None:
    """Idle: what is left; busy: as if idle from now; for ever: about 292 years ahead."""
    scheduler = await start(keep_alive=60 * SECOND)
    with await scheduler.acquire(spec("a", cells=2048)):
        await trio.sleep(30)
        [busy] = scheduler.residents()
        assert (busy.expires_at, busy.users) == (NOW + 60 * SECOND, 1)
        assert (busy.size, busy.context_length) == (1000, 2048)
    await trio.sleep(20)
    [idle] = scheduler.residents()
    assert idle.expires_at == NOW + 40 * SECOND
    await use(scheduler, spec("a"), 0, keep_alive=FOREVER)
    [kept] = scheduler.residents()
    assert kept.expires_at == NOW + FOREVER


# -- room -----------------------------------------------------------------------------------------


async def test_three_models_fit_by_default(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """The fourth takes the place of the idle one with the shortest keep-alive."""
    scheduler = await start()
    for name, keep in (("a", 9 * MINUTE), ("b", 7 * MINUTE), ("c", 8 * MINUTE)):
        await use(scheduler, spec(name), 0, keep)
    await use(scheduler, spec("d"), 0)
    assert names(scheduler) == {"a", "c", "d"}
    assert pool.diary[3:] == ["close b", "load d"]


async def test_busy_models_are_not_sent_away(
    start: Start, pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A request for another model waits until a busy one has finished by itself."""
    scheduler = await start(max_loaded=1)
    lease = await scheduler.acquire(spec("a"))
    nursery.start_soon(use, scheduler, spec("b"), 5)
    await trio.sleep(1000)
    assert names(scheduler) == {"a"}
    lease.release()
    await trio.sleep(2)
    assert names(scheduler) == {"b"}


async def test_steady_traffic_starves_nobody(
    start: Start, pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """Overlapping requests keep one model always busy; a request for another still gets in."""
    scheduler = await start(max_loaded=1)

    async def traffic() -> None:
        while True:
            nursery.start_soon(use, scheduler, spec("a"), 3)
            await trio.sleep(1)

    nursery.start_soon(traffic)
    await trio.sleep(10)
    with trio.fail_after(8):
        await use(scheduler, spec("b"), 1)
    await trio.sleep(10)
    assert names(scheduler) == {"a"}


async def test_another_room_that_gets_free_first_is_taken(
    start: Start, pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A model that was to take no new users does again once another one has made room."""
    scheduler = await start(max_loaded=2)
    a, b = await scheduler.acquire(spec("a")), await scheduler.acquire(spec("b"))
    nursery.start_soon(use, scheduler, spec("c"), 50)
    await wait_all_tasks_blocked()
    nursery.start_soon(use, scheduler, spec("a"), 50)
    await wait_all_tasks_blocked()
    assert scheduler.statistics().waiting == 2
    b.release()
    await trio.sleep(2)
    assert names(scheduler) == {"a", "c"}
    assert scheduler.statistics().users == 3
    a.release()


async def test_a_larger_window_reloads_once_the_users_are_gone(
    start: Start, pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A reload harms no running request, and who asks for less is served by what is there."""
    scheduler = await start()
    lease = await scheduler.acquire(spec("a", 2048))
    await use(scheduler, spec("a", 1024), 0)
    nursery.start_soon(use, scheduler, spec("a", 8192), 1)
    await trio.sleep(100)
    assert pool.diary == ["load a"]
    lease.release()
    await trio.sleep(1.5)
    assert pool.diary == ["load a", "close a", "load a"]
    assert scheduler.residents()[0].context_length == 8192


async def test_memory_that_is_short_makes_room(
    pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """Where the estimate says no, an idle model goes though there are places left."""
    fits = lambda wanted, present: not present  # noqa: E731
    scheduler = Scheduler(pool, fits=fits)  # type: ignore[arg-type]
    await nursery.start(scheduler.run)
    await use(scheduler, spec("a"), 0)
    await use(scheduler, spec("b"), 0)
    assert pool.diary == ["load a", "close a", "load b"]


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
