"""Who is resident, who waits, who leaves and when.

Owns: the nursery every runner lives in, the queue of requests for models that are not ready, the
leases that keep a model loaded while it is used, and the keep-alive clocks.
Called by: ``app`` runs it for as long as the server lives; ``api`` acquires a lease for each
request and lists the residents.
Never: sees a job or a token, ends an answer that runs (but for the end of a drain), or lets a busy
model go.
A cancelled ``acquire`` leaves the queue at once; a load that nobody waits for any more is given up
after a short while. Cancelling ``run`` closes every runner within a bounded time.

``residency/`` holds the pure plan, the records and the leases; this carries the plan out.
Keep-alive follows Ollama's rules (server/sched.go), the queue does not: whoever waits for room is
never overtaken by later requests for the models that are in the way.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
import trio

from .base.durations import SECOND, format_duration
from .base.errors import Busy, ModelLoadError, ShuttingDown, TrillamaError
from .residency.leases import Lease
from .residency.plan import Fits, Plan, always_fits, plan
from .residency.room import Room
from .residency.tenants import (
    Resident,
    SchedulerLimits,
    SchedulerStatistics,
    SchedulerTotals,
    Tenant,
    TenantState,
    Waiter,
    phases,
)
from .runner_pool import QUEUE_FULL, Pace, Runner, RunnerPool, RunnerSpec, Tokenizer

__all__ = [
    "Fits",
    "Lease",
    "Plan",
    "Resident",
    "Room",
    "Scheduler",
    "SchedulerLimits",
    "SchedulerStatistics",
    "SchedulerTotals",
    "Tenant",
    "TenantState",
    "Waiter",
    "plan",
]

log = structlog.get_logger(__name__)


class Scheduler:
    """Shares the room in memory between the models that are asked for.

    Args:
        room: the memory there is; without it nobody looks.
        fits: whether a model fits beside others, asked before every load but the first; by
            default what the room says.
        wall_clock: nanoseconds since the epoch.
    """

    def __init__(
        self,
        pool: RunnerPool,
        limits: SchedulerLimits | None = None,
        *,
        room: Room | None = None,
        fits: Fits | None = None,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._pool = pool
        self._limits = limits or SchedulerLimits()
        self._room = room or Room(tuple)
        self._fits = fits or (room.fits if room else always_fits)
        self._wall_clock = wall_clock
        self._nursery: trio.Nursery | None = None
        self._draining = False
        self._tenants: dict[str, Tenant] = {}
        self._waiters: list[Waiter] = []
        self._leases = 0
        self._changed = trio.lowlevel.ParkingLot()
        self._pace = Pace()
        self._totals = SchedulerTotals()

    # -- life -------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then every waiter is told and every runner closed."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None
                self._fail_waiters(list(self._waiters), ShuttingDown())

    def begin_drain(self) -> None:
        """Refuse whatever is asked from now on; those who wait or work go on."""
        self._draining = True

    async def wait_drained(self, deadline: float = math.inf) -> bool:
        """Wait until nobody waits and no lease is held.

        At ``deadline`` (trio's clock) whoever still waits, and every answer that still runs, ends
        with ShuttingDown.

        Returns:
            whether all came to their own end.
        """
        with trio.move_on_at(deadline):
            while self._waiters or self._leases:
                await self._changed.park()
            return True
        self._fail_waiters(list(self._waiters), ShuttingDown())
        for tenant in list(self._tenants.values()):
            if tenant.runner is not None:
                await tenant.runner.drain(trio.current_time())
        return False

    # -- acquiring and releasing ------------------------------------------------------------------

    async def acquire(self, spec: RunnerSpec, keep_alive: int | None = None) -> Lease:
        """A lease on a runner for ``spec``, loading the model if it must be.

        Args:
            keep_alive: nanoseconds the model may be idle from now on; None leaves it as it is.

        Raises:
            Busy: too many requests wait for models.
            ShuttingDown: the server drains.
            ModelLoadError: the load failed, or the model is larger than the machine.
        """
        waiter = Waiter(spec, keep_alive)
        self._enlist(waiter)
        try:
            await waiter.settled.wait()
        except BaseException:
            self._withdraw(waiter)
            raise
        if waiter.error is not None:
            raise waiter.error
        assert waiter.tenant is not None
        return Lease(waiter.tenant, time.monotonic_ns() - waiter.asked, self._release)

    def _enlist(self, waiter: Waiter) -> None:
        if self._draining or self._nursery is None:
            raise ShuttingDown()
        if not ((here := self._tenants.get(waiter.spec.key)) and here.spec.serves(waiter.spec)):
            self._room.check(waiter.spec)
        decided = plan([*self._waiters, waiter], self._tenants, self._limits, self._fits)
        waiting = len(self._waiters)
        if waiter not in decided.serve and waiting >= max(1, self._limits.max_queue):
            self._totals.refused += 1
            raise Busy(QUEUE_FULL, self._pace.retry_after(waiting, trio.current_time()))
        if waiter not in decided.serve:
            self._waiters.append(waiter)
            self._desert(waiter.spec.key, math.inf)
        self._carry_out(decided)

    def _withdraw(self, waiter: Waiter) -> None:
        """The client left: free what it was granted, or the load nobody else waits for."""
        if waiter.tenant is not None:
            self._release(waiter.tenant)
        if waiter not in self._waiters:
            return
        self._waiters.remove(waiter)
        if not any(other.spec.key == waiter.spec.key for other in self._waiters):
            self._desert(waiter.spec.key, trio.current_time())
        self._replan()

    def _desert(self, key: str, when: float) -> None:
        """Note since when nobody waits for a load, unless it is being given up already."""
        tenant = self._tenants.get(key)
        if tenant is None or tenant.state is not TenantState.LOADING:
            return
        if not tenant.scope.cancel_called:
            tenant.deserted = when
            tenant.set_timer(self._limits)

    def _release(self, tenant: Tenant) -> None:
        tenant.users -= 1
        self._leases -= 1
        if tenant.idle:
            tenant.since = trio.current_time()
            if tenant.keep_alive <= 0:
                self._expire(tenant)
            tenant.set_timer(self._limits)
        self._replan()

    @asynccontextmanager
    async def tokenizer(self, spec: RunnerSpec) -> AsyncIterator[Tokenizer]:
        """What tokenises for ``spec``: its runner if it is ready, else its vocabulary alone.

        Raises:
            ModelLoadError: the vocabulary cannot be read.
        """
        tenant = self._tenants.get(spec.key)
        if tenant is not None and tenant.runner is not None and tenant.state is TenantState.READY:
            tenant.users += 1
            self._leases += 1
            with Lease(tenant, 0, self._release) as lease:
                yield lease.runner
        else:
            async with self._pool.vocabularies.borrow(spec.path) as found:
                yield found

    def expire(self, key: str) -> bool:
        """Have a model go: now if it is idle, else when its last user leaves.

        Returns:
            whether it was there.
        """
        tenant = self._tenants.get(key)
        if tenant is None or tenant.state is TenantState.LEAVING:
            return False
        tenant.keep_alive, tenant.stopping = 0, True
        if tenant.idle:
            self._expire(tenant)
        return True

    # -- the plan carried out ---------------------------------------------------------------------

    def _replan(self) -> None:
        self._carry_out(plan(self._waiters, self._tenants, self._limits, self._fits))

    def _carry_out(self, decided: Plan) -> None:
        for waiter in decided.serve:
            self._serve(waiter)
        for tenant in decided.evict:
            self._totals.evicted += 1
            self._dismiss(tenant)
        for spec in decided.load:
            self._load(spec)
        self._changed.unpark_all()

    def _serve(self, waiter: Waiter) -> None:
        tenant = self._tenants[waiter.spec.key]
        if waiter.keep_alive is not None:
            tenant.keep_alive, tenant.stopping = waiter.keep_alive, False
        tenant.users += 1
        self._leases += 1
        tenant.set_timer(self._limits)
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            self._pace.tick(trio.current_time())
        waiter.tenant = tenant
        waiter.settled.set()

    def _expire(self, tenant: Tenant) -> None:
        self._totals.expired += 1
        self._dismiss(tenant)

    def _dismiss(self, tenant: Tenant) -> None:
        tenant.state = TenantState.LEAVING
        tenant.scope.cancel()

    def _load(self, spec: RunnerSpec) -> None:
        assert self._nursery is not None
        tenant = Tenant(spec, self._limits.keep_alive, since=trio.current_time())
        self._tenants[spec.key] = tenant
        self._nursery.start_soon(self._tend, tenant, name=f"runner {spec.name}")

    def _fail_waiters(self, waiters: list[Waiter], error: TrillamaError) -> None:
        for waiter in waiters:
            self._waiters.remove(waiter)
            waiter.error = copy.copy(error)  # each task raises its own, with its own traceback
            waiter.settled.set()
        self._changed.unpark_all()

    # -- one tenant's task ------------------------------------------------------------------------

    async def _tend(self, tenant: Tenant) -> None:
        """Load a model, keep it while it is wanted, close it."""
        structlog.contextvars.clear_contextvars()  # of the request that happened to cause it
        try:
            async with trio.open_nursery() as nursery:
                runner = await self._open(tenant, nursery)
                if runner is not None:
                    try:
                        await self._keep(tenant, runner)
                    finally:
                        tenant.state = TenantState.LEAVING
                        await runner.aclose()
        finally:
            del self._tenants[tenant.spec.key]
            self._room.forget(tenant.spec.key)
            if self._nursery is not None:
                self._replan()

    async def _open(self, tenant: Tenant, nursery: trio.Nursery) -> Runner | None:
        with tenant.scope:
            tenant.set_timer(self._limits)
            try:
                progressed = functools.partial(self._progressed, tenant)
                runner = await self._pool.start(self._room.placed(tenant.spec), nursery, progressed)
            except TrillamaError as error:
                self._load_failed(tenant, error)
                return None
            self._loaded(tenant, runner)
            await self._room.save()
            return runner
        if tenant.deserted == math.inf:
            waited = format_duration(self._limits.load_timeout)
            text = f"timed out waiting for {tenant.spec.name} to load: no progress for {waited}"
            self._load_failed(tenant, ModelLoadError(text))
        return None

    def _progressed(self, tenant: Tenant, fraction: float) -> None:
        tenant.progress = fraction
        tenant.since = trio.current_time()
        tenant.set_timer(self._limits)

    def _load_failed(self, tenant: Tenant, error: TrillamaError) -> None:
        log.error("load failed", model=tenant.spec.name, error=error.message)
        self._totals.failed_loads += 1
        tenant.state = TenantState.LEAVING
        key, serves = tenant.spec.key, tenant.spec.serves
        mine = [one for one in self._waiters if one.spec.key == key and serves(one.spec)]
        self._fail_waiters(mine, error)

    def _loaded(self, tenant: Tenant, runner: Runner) -> None:
        self._totals.loads += 1
        tenant.runner = runner
        cells = runner.limits.cells if tenant.spec.generates else 0
        self._room.note(runner.spec, cells, runner.taken)
        tenant.state = TenantState.READY
        tenant.since = trio.current_time()
        tenant.scope = trio.CancelScope()
        self._replan()
        if tenant.idle and tenant.keep_alive <= 0:
            self._expire(tenant)

    async def _keep(self, tenant: Tenant, runner: Runner) -> None:
        """Stay until told to go, out of use for too long, or broken."""
        while tenant.state is TenantState.READY:
            with tenant.scope:
                tenant.set_timer(self._limits)
                await runner.wait_over()
                return
            tenant.scope = trio.CancelScope()
            if tenant.expires() <= trio.current_time() and tenant.state is TenantState.READY:
                self._expire(tenant)

    # -- looking ----------------------------------------------------------------------------------

    def residents(self) -> list[Resident]:
        """Models that are ready, in no particular order."""
        return [
            self._resident(tenant, tenant.runner)
            for tenant in self._tenants.values()
            if tenant.runner is not None and tenant.state is TenantState.READY
        ]

    def _resident(self, tenant: Tenant, runner: Runner) -> Resident:
        spec, taken = runner.spec, self._room.taken(tenant.spec)
        return Resident(
            spec=spec,
            size=taken.total if taken else runner.facts.size,
            size_vram=taken.gpu if taken else 0,
            context_length=runner.context_length,
            users=tenant.users,
            expires_at=self._expires_at(tenant),
            stopping=tenant.stopping,
            queue=tuple(runner.queue()),
            batch=runner.statistics().batch,
        )

    def _expires_at(self, tenant: Tenant) -> int:
        left = tenant.expires() - trio.current_time()
        remaining = tenant.keep_alive if left == math.inf else round(left * SECOND)
        return self._wall_clock() + max(remaining, 0)

    def statistics(self) -> SchedulerStatistics:
        """Counts for the metrics and for tests."""
        return SchedulerStatistics(
            waiting=len(self._waiters),
            **phases(self._tenants.values()),
            users=self._leases,
            draining=self._draining,
            totals=copy.copy(self._totals),
        )

    def __repr__(self) -> str:
        now = ", ".join(f"{t.spec.name} {t.state} x{t.users}" for t in self._tenants.values())
        return f"<Scheduler [{now}], {len(self._waiters)} waiting>"
