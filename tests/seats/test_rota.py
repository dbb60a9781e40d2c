"""Turns of sets of adapters: everybody gets one, and none is over before it has paid for itself."""

from __future__ import annotations

import numpy as np

from trillama.base.adapters import Adapter, Adapters
from trillama.base.jobs import Job
from trillama.engine.fake import open_fake_context
from trillama.seats.rota import LONGEST, PAYS, Rota
from trillama.seats.seat import Seat, take_seat

A, B = (Adapter("a"),), (Adapter("b"),)
CONTEXT = open_fake_context()


def seat(adapters: Adapters = ()) -> Seat:
    return take_seat(Job(id="x", prompt=np.ones(3, np.int32), limit=9, adapters=adapters), CONTEXT)


def test_one_set_has_all_turns() -> None:
    """Nothing changes for jobs that want the same."""
    rota, seats = Rota(), [seat(), seat()]
    rota.spend(10)
    assert (rota.choose(seats), rota.changes) == (seats, 0)


def test_a_set_that_nobody_wants_any_more_makes_way_at_once() -> None:
    """The first job with an adapter on an idle engine does not wait."""
    rota, seats = Rota(), [seat(A), seat(A)]
    assert (rota.choose(seats), rota.current, rota.changes) == (seats, A, 1)


def test_a_turn_lasts_several_times_its_first_step() -> None:
    """That step has paid for the change; a change must not cost more than what it brings."""
    rota, both = Rota(), [seat(A), seat(B)]
    first = rota.choose(both)
    assert rota.spend(100)
    steps = 1
    while rota.choose(both) == first:
        assert not rota.spend(50)
        steps += 1
    assert 100 + 50 * (steps - 1) == 100 * PAYS


def test_a_turn_is_over_after_its_longest_time() -> None:
    """However long the first step was, others are not kept waiting for more than that."""
    rota, both = Rota(), [seat(A), seat(B)]
    first = rota.choose(both)
    rota.spend(LONGEST)
    assert rota.choose(both) != first


def test_who_has_waited_longest_is_next() -> None:
    """Three sets have their turns in a circle."""
    rota, all_three = Rota(), [seat(), seat(A), seat(B)]
    seen = []
    for _ in range(6):
        rota.choose(all_three)
        seen.append(rota.current)
        rota.spend(LONGEST)
    assert seen[:3] == seen[3:]
    assert set(seen) == {(), A, B}
