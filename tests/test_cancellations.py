"""A client may leave at any moment; afterwards everything is as if it had never come.

Each phase of a request is reached with certainty: a gate holds the engine thread inside a load or
a decode, the client leaves, the gate opens. Then the statistics of every floor must equal those of
a server that is idle.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.runners import PATIENCE, Gate, fake_spec, idle, job, read
from trillama.base.events import Done, Text
from trillama.engine.base import Batch
from trillama.engine.fake import FakeBackend, Hooks, babble, fixed
from trillama.nursery_scheduler import Lease, Scheduler, SchedulerLimits
from trillama.runner_pool import Answer, Runner, RunnerPool

PROMPT_ROWS = 300
"""A prompt longer than the answer to anything else, to know its decode by its size."""


@dataclass
class House:
    """A scheduler over the fake engine, with a gate in every decode."""

    scheduler: Scheduler
    pool: RunnerPool
    backend: FakeBackend
    hooks: Hooks
    gate: Gate

    @property
    def runner(self) -> Runner:
        [runner] = self.pool.residents
        return runner


@asynccontextmanager
async def house(script: Callable[..., int] = babble) -> AsyncIterator[House]:
    """A running house whose loads are given up as soon as nobody waits."""
    hooks = Hooks()
    gate = Gate()
    backend = FakeBackend(script, hooks=hooks)
    pool = RunnerPool(backend)
    scheduler = Scheduler(pool, SchedulerLimits(linger=0))
    hooks.on_decode = gate
    async with trio.open_nursery() as nursery:
        await nursery.start(scheduler.run)
        try:
            yield House(scheduler, pool, backend, hooks, gate)
        finally:
            gate.open()
            nursery.cancel_scope.cancel()
    pool.close()
    assert backend.open_models == backend.open_contexts == 0
    for thread in threading.enumerate():
        if thread.name.startswith("engine:"):
            thread.join(PATIENCE)
            assert not thread.is_alive()


def gauges(it: House) -> dict[str, object]:
    """Everything the floors say of this moment; what they have counted so far is left out."""
    schedule = it.scheduler.statistics()
    found: dict[str, object] = {
        "scheduler": (schedule.waiting, schedule.loading, schedule.leaving, schedule.users)
    }
    for stats in it.pool.statistics().runners:
        batch = stats.batch
        assert batch is not None
        found[f"runner {stats.name}"] = (
            stats.state,
            stats.waiting,
            stats.running,
            stats.paused,
            stats.tokenizing,
        )
        found[f"batch {stats.name}"] = (
            batch.waiting,
            batch.prefilling,
            batch.generating,
            batch.paused,
            batch.kv.used,
            batch.kv.live,
            batch.kv.holders,
        )
    for number, context in enumerate(it.backend.contexts):
        found[f"cells {number}"] = context.cells_used
    return found


class Client:
    """A request that runs in a task of its own and may leave at any moment."""

    def __init__(self, it: House, nursery: trio.Nursery, text: str = "x" * PROMPT_ROWS) -> None:
        self.read: list[Text | Done] = []
        self.scope = trio.CancelScope()
        self.gone = trio.Event()
        self.answer: Answer | None = None
        self._house = it
        self._text = text
        nursery.start_soon(self._live)

    async def _live(self) -> None:
        try:
            with self.scope, await self._lease() as lease:
                self.answer = lease.runner.submit_nowait(job(self._text))
                with self.answer:
                    async for event in self.answer:
                        self.read.append(event)
        finally:
            self.gone.set()

    async def _lease(self) -> Lease:
        return await self._house.scheduler.acquire(fake_spec(max_live=1))

    async def leave(self) -> None:
        """Hang up; the client is gone when this returns, whatever the engine is doing."""
        self.scope.cancel()
        with trio.fail_after(PATIENCE):
            await self.gone.wait()


async def reached(it: House) -> None:
    with trio.fail_after(PATIENCE):
        await it.gate.reached.wait()


async def back_to_idle(it: House, before: dict[str, object]) -> None:
    """After what is posted is carried out, the gauges are the idle ones, and the house works."""
    it.gate.open()
    await idle(it.runner)
    await wait_all_tasks_blocked()
    assert gauges(it) == before
    lease = await it.scheduler.acquire(fake_spec(max_live=1))
    with lease, lease.runner.submit_nowait(job("again", num_predict=3)) as answer:
        text, _ = await read(answer)
    assert len(text) == 3


async def _loaded(it: House) -> dict[str, object]:
    (await it.scheduler.acquire(fake_spec(max_live=1))).release()
    await wait_all_tasks_blocked()
    return gauges(it)


async def test_while_queued_for_a_model(nursery: trio.Nursery) -> None:
    """A client in the scheduler's queue, behind another model's load, leaves nothing."""
    async with house() as it:
        inside, go_on = trio.Event(), threading.Event()
        token = trio.lowlevel.current_trio_token()

        def on_load(path: str, params: object) -> None:
            token.run_sync_soon(inside.set)
            assert go_on.wait(PATIENCE)

        it.hooks.on_load = on_load
        other = trio.Event()

        async def wait_for_other() -> None:
            (await it.scheduler.acquire(fake_spec("other"))).release()
            other.set()

        nursery.start_soon(wait_for_other)
        await inside.wait()
        client = Client(it, nursery)
        await wait_all_tasks_blocked()
        assert it.scheduler.statistics().waiting == 2
        await client.leave()
        assert it.scheduler.statistics().waiting == 1
        go_on.set()
        await other.wait()
        await wait_all_tasks_blocked()
        assert [model.closed for model in it.backend.models] == [False]
        assert it.scheduler.statistics().users == 0


async def test_while_loading(nursery: trio.Nursery) -> None:
    """The only client of a load leaves: the load ends, its memory and its thread are gone."""
    async with house() as it:
        before = gauges(it)
        inside, go_on = trio.Event(), threading.Event()
        token = trio.lowlevel.current_trio_token()

        def on_load(path: str, params: object) -> None:
            token.run_sync_soon(inside.set)
            assert go_on.wait(PATIENCE)

        it.hooks.on_load = on_load
        client = Client(it, nursery)
        await inside.wait()
        assert len(it.scheduler.statistics().loading) == 1
        await client.leave()
        await wait_all_tasks_blocked()
        go_on.set()
        with trio.fail_after(PATIENCE):
            while it.pool.residents:
                await wait_all_tasks_blocked(0.001)
        await wait_all_tasks_blocked()
        assert gauges(it) == before
        assert it.backend.models == []
        it.hooks.on_load = None
        await _loaded(it)


async def test_while_queued_in_the_engine(nursery: trio.Nursery) -> None:
    """A job that waits for a sequence is withdrawn without a trace."""
    async with house() as it:
        before = await _loaded(it)
        it.gate.close_at(lambda batch: True)
        first = Client(it, nursery, "first")
        await reached(it)
        second = Client(it, nursery, "second")
        await wait_all_tasks_blocked()
        assert it.runner.statistics().waiting >= 1
        await second.leave()
        await first.leave()
        await back_to_idle(it, before)


async def test_before_the_engine_has_seen_the_job(nursery: trio.Nursery) -> None:
    """Submitted and withdrawn while the engine is inside a decode for somebody else."""
    async with house() as it:
        before = await _loaded(it)
        it.gate.close_at(lambda batch: True)
        first = Client(it, nursery, "first")
        await reached(it)
        with it.scheduler._tenants["/m"].runner.submit_nowait(job("never")):  # type: ignore[union-attr]
            pass
        await first.leave()
        await back_to_idle(it, before)


def _prefill(batch: Batch) -> bool:
    return batch.size > 10


def _decode(batch: Batch) -> bool:
    return batch.size == batch.outputs == 1 and int(batch.positions[0]) > PROMPT_ROWS + 5


@pytest.mark.parametrize("phase", [_prefill, _decode])
async def test_while_the_engine_computes(
    nursery: trio.Nursery, phase: Callable[[Batch], bool]
) -> None:
    """In prefill or in decode: the client is gone at once, the sequence one step later."""
    async with house() as it:
        before = await _loaded(it)
        it.gate.close_at(phase)
        client = Client(it, nursery)
        await reached(it)
        with trio.fail_after(PATIENCE):
            while it.runner.statistics().waiting:
                await trio.lowlevel.checkpoint()
        assert it.runner.statistics().running == 1
        steps = it.backend.contexts[0].counters.decodes
        await client.leave()
        assert gauges(it)["scheduler"] == before["scheduler"]
        it.gate.open()
        await idle(it.runner)
        assert it.backend.contexts[0].counters.decodes <= steps + 1
        await back_to_idle(it, before)


async def test_between_the_last_token_and_the_end(nursery: trio.Nursery) -> None:
    """All text was read, the engine is about to say so: a cancel and an end that cross."""
    async with house(fixed("ok")) as it:
        (await it.scheduler.acquire(fake_spec(max_live=1))).release()
        await wait_all_tasks_blocked()
        before = gauges(it)
        it.gate.close_at(lambda batch: int(batch.tokens[0]) == ord("k"))
        client = Client(it, nursery, "?")
        await reached(it)
        with trio.fail_after(PATIENCE):  # the last text is brought by a thread beside the decode
            while "".join(event.text for event in client.read if isinstance(event, Text)) != "ok":
                await wait_all_tasks_blocked(0.001)
        await client.leave()
        it.gate.open()
        await idle(it.runner)
        await wait_all_tasks_blocked()
        assert gauges(it) == before


async def test_with_the_end_unread(nursery: trio.Nursery) -> None:
    """The engine has finished, the client leaves without having read a word."""
    async with house(fixed("ok")) as it:
        before = await _loaded(it)
        lease = await it.scheduler.acquire(fake_spec(max_live=1))
        with lease, lease.runner.submit_nowait(job("?")) as answer:
            await idle(it.runner)
            await wait_all_tasks_blocked()
            assert answer.ended
        assert gauges(it) == before


async def test_while_paused_for_a_slow_reader(nursery: trio.Nursery) -> None:
    """A client that had stopped reading leaves: its parked sequence goes too."""
    async with house() as it:
        before = await _loaded(it)
        lease = await it.scheduler.acquire(fake_spec(max_live=1))
        with lease, lease.runner.submit_nowait(job("slow")) as answer:
            with trio.fail_after(PATIENCE):
                while not answer.paused:
                    await idle(it.runner)
        await back_to_idle(it, before)


async def test_while_tokenizing(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text goes on being tokenised for nobody, and is accounted for until it is done."""
    async with house() as it:
        before = await _loaded(it)
        inside, go_on = trio.Event(), threading.Event()
        token = trio.lowlevel.current_trio_token()

        def tokenize(text: str, **flags: bool) -> None:
            token.run_sync_soon(inside.set)
            assert go_on.wait(PATIENCE)

        monkeypatch.setattr(it.runner.vocabulary, "tokenize", tokenize)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(it.runner.tokenize, "x")
                await inside.wait()
                scope.cancel()
        assert it.runner.statistics().tokenizing == 1
        go_on.set()
        with trio.fail_after(PATIENCE):
            while it.runner.statistics().tokenizing:
                await wait_all_tasks_blocked(0.001)
        assert gauges(it) == before


async def test_everybody_at_once(nursery: trio.Nursery) -> None:
    """Many clients in all phases leave together; not a cell stays behind."""
    async with house() as it:
        before = await _loaded(it)
        it.gate.close_at(lambda batch: batch.size == batch.outputs == 1)
        clients = [Client(it, nursery, f"number {number}") for number in range(50)]
        await reached(it)
        await wait_all_tasks_blocked()
        for client in clients:
            client.scope.cancel()
        for client in clients:
            await client.leave()
        await back_to_idle(it, before)


async def test_the_whole_house_while_it_works(nursery: trio.Nursery) -> None:
    """The server is stopped in the middle of answers: threads and models are gone after it."""
    async with house() as it:
        clients = [Client(it, nursery, f"number {number}") for number in range(5)]
        with trio.fail_after(PATIENCE):
            while not any(client.read for client in clients):
                await wait_all_tasks_blocked(0.001)
        for client in clients:
            client.scope.cancel()
