"""The scheduler's records: limits, models that take up room, requests that wait, statistics."""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import trio

from ..base.durations import FOREVER, MINUTE, SECOND
from ..base.errors import TrillamaError
from ..runner_pool import Queued, Runner, RunnerSpec
from ..seats import BatchStatistics

DEFAULT_MAX_LOADED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerLimits:
    """Durations in nanoseconds.

    Attributes:
        max_loaded: models in memory at once; 0 chooses three.
        max_loading: models being loaded at once.
        max_queue: requests that may wait for a model; 0 counts as 1.
        keep_alive: how long an idle model stays, unless its requests say otherwise.
        load_timeout: a load without progress for this long is given up; 0 means never.
        linger: how long a load goes on when nobody waits for it any more, so that a client that
            times out and asks again finds it further on, not at its start.
    """

    max_loaded: int = 0
    max_loading: int = 1
    max_queue: int = 512
    keep_alive: int = 5 * MINUTE
    load_timeout: int = 5 * MINUTE
    linger: int = 5 * SECOND

    @property
    def places(self) -> int:
        """``max_loaded`` with its default filled in."""
        return self.max_loaded or DEFAULT_MAX_LOADED


class TenantState(enum.StrEnum):
    """Phases of a tenant; all of them take up room."""

    LOADING = "loading"
    READY = "ready"
    LEAVING = "leaving"


@dataclass(eq=False, slots=True)
class Tenant:
    """A model in memory, or on its way in or out.

    Attributes:
        keep_alive: nanoseconds it may be idle.
        users: leases held.
        stopping: somebody asked for it to go; it does when its last user leaves.
        since: trio's clock at the last progress of the load, or when the last user left.
        deserted: trio's clock when the last waiter of a load left; inf while somebody waits.
        scope: its deadline is the next thing due; cancelled to wake the tenant's task.
    """

    spec: RunnerSpec
    keep_alive: int
    state: TenantState = TenantState.LOADING
    users: int = 0
    runner: Runner | None = None
    stopping: bool = False
    progress: float = 0.0
    since: float = 0.0
    deserted: float = math.inf
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def idle(self) -> bool:
        """Ready and used by nobody."""
        return self.state is TenantState.READY and not self.users

    def expires(self) -> float:
        """When to go, on trio's clock; inf while in use."""
        return self.since + seconds(self.keep_alive) if self.idle else math.inf

    def gives_up(self, limits: SchedulerLimits) -> float:
        """When to end the load, on trio's clock."""
        stalls = self.since + (seconds(limits.load_timeout) or math.inf)
        return min(stalls, self.deserted + seconds(limits.linger))

    def set_timer(self, limits: SchedulerLimits) -> None:
        """Have the task wake when the next thing is due; too late once it is woken."""
        if not self.scope.cancel_called and self.state is not TenantState.LEAVING:
            loading = self.state is TenantState.LOADING
            self.scope.deadline = self.gives_up(limits) if loading else self.expires()


@dataclass(eq=False, slots=True)
class Waiter:
    """A request for a model: granted a tenant or failed, once.

    Attributes:
        keep_alive: what the request says, None if nothing.
        asked: monotonic nanoseconds.
    """

    spec: RunnerSpec
    keep_alive: int | None = None
    asked: int = field(default_factory=time.monotonic_ns)
    settled: trio.Event = field(default_factory=trio.Event)
    tenant: Tenant | None = None
    error: TrillamaError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A loaded model as lists show it.

    Attributes:
        size, size_vram: bytes it takes altogether, and of those on GPUs.
        context_length: cells of its pool.
        expires_at: wall clock, nanoseconds since the epoch; while it is in use, as if it became
            idle now.
        stopping: it goes when its last user leaves.
        queue: who waits for it, the next one first.
        batch: what its step loop last said of itself; None where it does not generate.
    """

    spec: RunnerSpec
    size: int
    size_vram: int
    context_length: int
    users: int
    expires_at: int
    stopping: bool
    queue: tuple[Queued, ...] = ()
    batch: BatchStatistics | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.spec.name

    @property
    def key(self) -> str:
        """What makes runners the same."""
        return self.spec.key


@dataclass(slots=True)
class SchedulerTotals:
    """Counts since the start."""

    loads: int = 0
    failed_loads: int = 0
    evicted: int = 0
    expired: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStatistics:
    """The scheduler at one moment.

    Attributes:
        waiting: requests without a model.
        loading: name and loaded fraction of every model on its way in.
        ready, leaving: numbers of models.
        users: leases held.
    """

    waiting: int
    loading: tuple[tuple[str, float], ...]
    ready: int
    leaving: int
    users: int
    draining: bool
    totals: SchedulerTotals


def phases(tenants: Iterable[Tenant]) -> dict[str, Any]:
    """What statistics say: who is on the way in, how many are in or on their way out."""
    known = list(tenants)
    states = [tenant.state for tenant in known]
    loading = [t for t in known if t.state is TenantState.LOADING]
    return {
        "loading": tuple((tenant.spec.name, tenant.progress) for tenant in loading),
        "ready": states.count(TenantState.READY),
        "leaving": states.count(TenantState.LEAVING),
    }


def seconds(ns: int) -> float:
    """Seconds of a duration; inf for FOREVER."""
    return math.inf if ns == FOREVER else ns / SECOND
