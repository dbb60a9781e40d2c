"""A runner pool that only pretends to load, for tests of the scheduler in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import trio

from trillama.base.durations import SECOND
from trillama.base.errors import TrillamaError
from trillama.base.memory import NOTHING
from trillama.engine.base import ContextParams, LoadParams
from trillama.nursery_scheduler import Scheduler, SchedulerLimits
from trillama.runner_pool import RunnerSpec

NOW = 1_800_000_000 * SECOND
"""The wall clock of these tests."""


def spec(name: str, cells: int = 4096, gpu_layers: int = -1) -> RunnerSpec:
    return RunnerSpec(
        key=f"/{name}",
        name=name,
        path=f"/{name}",
        load=LoadParams(gpu_layers=gpu_layers),
        context=ContextParams(cells=cells),
    )


class StubRunner:
    """Enough of a runner: it can be over, drained and closed."""

    def __init__(self, wanted: RunnerSpec, diary: list[str]) -> None:
        self.spec = wanted
        self.facts = SimpleNamespace(size=1000)
        self.limits = SimpleNamespace(cells=wanted.context.cells)
        self.taken = NOTHING
        self.context_length = wanted.context.cells
        self.over = trio.Event()
        self.drained = False
        self._diary = diary

    def queue(self) -> list[object]:
        return []

    def statistics(self) -> SimpleNamespace:
        return SimpleNamespace(batch=None)

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


Start = Callable[..., Awaitable[Scheduler]]


def starter(pool: StubPool, nursery: trio.Nursery) -> Start:
    """A function that starts a scheduler over ``pool``; its keywords are the limits."""

    async def start(**limits: int) -> Scheduler:
        scheduler = Scheduler(pool, SchedulerLimits(**limits), wall_clock=lambda: NOW)
        await nursery.start(scheduler.run)
        return scheduler

    return start


async def use(
    scheduler: Scheduler, wanted: RunnerSpec, seconds: float, keep_alive: int | None = None
) -> None:
    """Hold a lease for a while."""
    with await scheduler.acquire(wanted, keep_alive):
        await trio.sleep(seconds)


def names(scheduler: Scheduler) -> set[str]:
    return {resident.name for resident in scheduler.residents()}
