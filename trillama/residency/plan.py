"""What to do next, decided in one synchronous look at everything; it changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ..runner_pool import RunnerSpec
from .tenants import SchedulerLimits, Tenant, TenantState, Waiter

Fits: TypeAlias = Callable[[RunnerSpec, Sequence[RunnerSpec]], bool]
"""Whether a model fits into memory beside those that are in it."""


def always_fits(spec: RunnerSpec, residents: Sequence[RunnerSpec]) -> bool:
    """No opinion on memory."""
    return True


@dataclass(slots=True)
class Plan:
    """Steps to carry out, in this order.

    Attributes:
        serve: waiters that get their model now.
        evict: idle tenants that must go.
        load: specs to load.
        held: keys of busy tenants that take no new users, because an older request waits for
            their room or for the same model loaded differently.
    """

    serve: list[Waiter] = field(default_factory=list)
    evict: list[Tenant] = field(default_factory=list)
    load: list[RunnerSpec] = field(default_factory=list)
    held: set[str] = field(default_factory=set)


def plan(
    waiters: Sequence[Waiter],
    tenants: Mapping[str, Tenant],
    limits: SchedulerLimits,
    fits: Fits = always_fits,
) -> Plan:
    """Decide for all waiters, oldest first.

    A waiter whose model is ready is served at once. The oldest one that needs a load gets room
    made for it, one victim at a time, and all later loads wait behind it; requests for one model
    share one load. Victims are idle tenants with the shortest keep-alive; where all are busy the
    first in that order takes no new users until it is idle.
    """
    return _Planner(tenants, limits, fits).decide(waiters)


class _Planner:
    def __init__(self, tenants: Mapping[str, Tenant], limits: SchedulerLimits, fits: Fits) -> None:
        self._tenants = tenants
        self._limits = limits
        self._fits = fits
        self._plan = Plan()
        self._serving: set[str] = set()
        self._behind: set[str] = set()  # keys whose later waiters queue behind an older one
        self._loads_blocked = False

    def decide(self, waiters: Sequence[Waiter]) -> Plan:
        for waiter in waiters:
            key = waiter.spec.key
            if key in self._behind or key in self._plan.held:
                continue
            tenant = self._tenants.get(key)
            if tenant is None:
                self._behind.add(key)
                self._load(waiter.spec)
            elif tenant.state is not TenantState.READY:
                self._behind.add(key)
            elif tenant.spec.serves(waiter.spec):
                self._serving.add(key)
                self._plan.serve.append(waiter)
            else:
                self._send_away(tenant)
        return self._plan

    def _load(self, spec: RunnerSpec) -> None:
        if self._loads_blocked:
            return
        present = [tenant.spec for tenant in self._tenants.values()] + self._plan.load
        states = [tenant.state for tenant in self._tenants.values()]
        loading = states.count(TenantState.LOADING) + len(self._plan.load)
        roomy = len(present) < self._limits.places and (not present or self._fits(spec, present))
        if roomy and loading < self._limits.max_loading:
            self._plan.load.append(spec)
            return
        self._loads_blocked = True
        if not roomy and TenantState.LEAVING not in states and not self._plan.evict:
            self._make_room()

    def _make_room(self) -> None:
        ready = [t for t in self._tenants.values() if t.state is TenantState.READY]
        ready.sort(key=lambda tenant: (tenant.keep_alive, tenant.spec.key))
        victim = next((t for t in ready if not self._in_use(t)), ready[0] if ready else None)
        if victim is not None:
            self._send_away(victim)

    def _send_away(self, tenant: Tenant) -> None:
        self._plan.held.add(tenant.spec.key)
        if not self._in_use(tenant):
            self._plan.evict.append(tenant)

    def _in_use(self, tenant: Tenant) -> bool:
        return bool(tenant.users) or tenant.spec.key in self._serving
