"""The plan is one pure decision; each row of its table is a promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.support.stub_pool import spec
from trillama.base.durations import FOREVER, MINUTE
from trillama.nursery_scheduler import (
    Plan,
    SchedulerLimits,
    Tenant,
    TenantState,
    Waiter,
    plan,
)
from trillama.runner_pool import RunnerSpec

LOADING, READY, LEAVING = TenantState


def tenant(
    name: str,
    users: int = 0,
    keep: int = 5 * MINUTE,
    state: TenantState = READY,
    cells: int = 4096,
) -> Tenant:
    return Tenant(spec(name, cells), keep, state, users)


@dataclass
class Case:
    """Who is there, who asks, and what is to happen; models go by one-letter names."""

    promise: str
    tenants: list[Tenant]
    wants: str = ""
    waiters: list[RunnerSpec] = field(default_factory=list)
    serve: str = ""
    evict: str = ""
    load: str = ""
    held: str = ""
    places: int = 3
    loading: int = 1
    fits: Callable[..., bool] = lambda wanted, present: True


# fmt: off
CASES = [
    Case("nobody asks, nothing happens", [tenant("a")]),
    Case("an empty house loads what is asked for", [], "a", load="a"),
    Case("requests for one model share one load", [], "aaa", load="a"),
    Case("a ready model serves all at once", [tenant("a", 2)], "aa", serve="aa"),
    Case("who asks for a model being loaded waits", [tenant("a", state=LOADING)], "aa"),
    Case("who asks for a model on its way out waits", [tenant("a", state=LEAVING)], "a"),
    Case("one load at a time, in order of arrival", [], "abc", load="a"),
    Case("more loads at a time where the limit says so", [], "abc", load="ab", loading=2),
    Case("a load in progress delays the next", [tenant("a", state=LOADING)], "b"),
    Case("ready models serve while another loads", [tenant("a"), tenant("b", state=LOADING)],
         "ba", serve="a"),
    Case("a free place needs no victim", [tenant("a"), tenant("b")], "c", load="c"),
    Case("a full house lets the shortest keep-alive go",
         [tenant("a", keep=9), tenant("b", keep=3), tenant("c", keep=5)], "d",
         evict="b", held="b"),
    Case("equal keep-alives go by key", [tenant("c"), tenant("b"), tenant("d")], "a",
         evict="b", held="b"),
    Case("for ever goes last, but goes",
         [tenant("a", 1, keep=FOREVER), tenant("b", keep=FOREVER), tenant("c", 1)], "d",
         evict="b", held="b"),
    Case("idle goes before shorter but busy",
         [tenant("a", 1, keep=1), tenant("b", keep=9), tenant("c", 1, keep=1)], "d",
         evict="b", held="b"),
    Case("where all are busy none goes, and the first in order takes no new users",
         [tenant("a", 1, keep=9), tenant("b", 1, keep=3), tenant("c", 1, keep=5)], "dbac",
         serve="ac", held="b"),
    Case("an older request is still served by the model that is to go",
         [tenant("a", 1), tenant("b", 1, keep=1), tenant("c", 1)], "bdb", serve="b", held="b"),
    Case("a model just given to somebody is no victim",
         [tenant("a"), tenant("b", keep=9 * MINUTE), tenant("c", 1)], "ad",
         serve="a", evict="b", held="b"),
    Case("one victim at a time: room on its way is waited for",
         [tenant("a", state=LEAVING), tenant("b"), tenant("c")], "d"),
    Case("later loads wait behind the one that needs room",
         [tenant("a", 1), tenant("b", 1), tenant("c", 1)], "de", held="a"),
    Case("a small model does not slip in before a large one that waits for room",
         [tenant("a", 1)], "de", held="a", fits=lambda wanted, present: wanted.name != "d"),
    Case("no victim while everything loads", [tenant("a", state=LOADING)], "b", places=1),
    Case("no room in memory needs a victim though places are free", [tenant("a")], "b",
         evict="a", held="a", fits=lambda wanted, present: False),
    Case("the first model is loaded whatever the estimate says", [], "a", load="a",
         fits=lambda wanted, present: False),
    Case("a smaller window is served by a larger one", [tenant("a", cells=8192)],
         waiters=[spec("a", 2048)], serve="a"),
    Case("a larger window reloads an idle model", [tenant("a", cells=2048)],
         waiters=[spec("a", 8192)], evict="a", held="a"),
    Case("a reload waits for the users, and later requests wait behind it",
         [tenant("a", 1, cells=2048)],
         waiters=[spec("a", 2048), spec("a", 8192), spec("a", 2048)], serve="a", held="a"),
    Case("other load parameters reload", [tenant("a")], waiters=[spec("a", gpu_layers=3)],
         evict="a", held="a"),
]
# fmt: on


@pytest.mark.parametrize("case", CASES, ids=[case.promise for case in CASES])
def test_plan(case: Case) -> None:
    """Each row of the table decides as its promise says, and changes nothing."""
    tenants = {t.spec.key: t for t in case.tenants}
    before = [(t.state, t.users, t.keep_alive) for t in case.tenants]
    waiters = [Waiter(wanted) for wanted in case.waiters or map(spec, case.wants)]
    limits = SchedulerLimits(max_loaded=case.places, max_loading=case.loading)

    decided: Plan = plan(waiters, tenants, limits, case.fits)

    assert "".join(w.spec.name for w in decided.serve) == case.serve
    assert "".join(t.spec.name for t in decided.evict) == case.evict
    assert "".join(s.name for s in decided.load) == case.load
    assert {key[1:] for key in decided.held} == set(case.held)
    assert [(t.state, t.users, t.keep_alive) for t in case.tenants] == before


def test_plan_asks_about_everything_that_takes_up_room() -> None:
    """The memory estimate sees models that load and leave too."""
    asked: list[tuple[str, list[str]]] = []

    def fits(wanted: RunnerSpec, present: list[RunnerSpec]) -> bool:
        asked.append((wanted.name, [other.name for other in present]))
        return True

    tenants = [tenant("a"), tenant("b", state=LEAVING)]
    plan([Waiter(spec("c"))], {t.spec.key: t for t in tenants}, SchedulerLimits(), fits)
    assert asked == [("c", ["a", "b"])]
