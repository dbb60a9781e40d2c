"""The scheduler loads on demand, keeps what is used and makes room for who waits.

Tests name ``autojump_clock`` themselves: pytest-trio takes a clock from a test's own arguments.
"""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.residency.test_placement import machine, model
from tests.support.stub_pool import NOW, Start, StubPool, names, spec, starter, use
from trillama.base.durations import FOREVER, MINUTE, SECOND
from trillama.nursery_scheduler import Scheduler
from trillama.residency.room import Room, TooLarge


@pytest.fixture
def pool() -> StubPool:
    return StubPool()


@pytest.fixture
def start(pool: StubPool, nursery: trio.Nursery) -> Start:
    return starter(pool, nursery)


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
    assert (statistics.waiting, statistics.loading) == (5, (("a", 0.5),))
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
    assert names(scheduler) == set()
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
    """Whoever gets a lease after the time is up, but before the model has gone, keeps it."""
    scheduler = await start(keep_alive=10 * SECOND)
    await use(scheduler, spec("a"), 0)
    autojump_clock.jump(10)
    with await scheduler.acquire(spec("a")):
        await trio.sleep(100)
        assert pool.diary == ["load a"]
    await trio.sleep(11)
    assert pool.diary == ["load a", "close a"]


async def test_expire_an_idle_model(
    start: Start, pool: StubPool, autojump_clock: MockClock
) -> None:
    """An idle model told to go is gone at once; one that is not there is no error."""
    scheduler = await start()
    await use(scheduler, spec("a"), 0)
    assert scheduler.expire("/a")
    assert names(scheduler) == set()
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


async def test_what_can_never_fit_sends_nobody_away(
    pool: StubPool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """A context beyond the machine is refused at once, also where the weights are loaded with a
    smaller one: they stay, and newcomers do not wait for their users to leave."""
    scheduler = Scheduler(pool, room=Room(lambda: machine(host=16)))  # type: ignore[arg-type]
    await nursery.start(scheduler.run)
    with await scheduler.acquire(model("a")):
        with trio.fail_after(1), pytest.raises(TooLarge):
            await scheduler.acquire(model("a", cells=1 << 20))
        await use(scheduler, model("a"), 0)
    with pytest.raises(TooLarge):
        await scheduler.acquire(model("a", cells=1 << 20))
    assert pool.diary == ["load a"]
    assert names(scheduler) == {"a"}
