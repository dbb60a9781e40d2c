"""Rows that are computed together are alike."""

from __future__ import annotations

import numpy as np
import pytest

from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.engine.base import Batch
from trillama.engine.sampling import RowSampler
from trillama.kv import Place
from trillama.seats import Plan, Seat
from trillama.seats.plan import alike, divide


def seat(at: int, length: int, *, prompt: int = 0) -> Seat:
    """A seat in stream ``at``: generating, or with ``prompt`` tokens still to compute."""
    tokens = np.arange(length + prompt, dtype=np.int32)
    job = Job(id=str(at), prompt=tokens, options=Options(), limit=10**6)
    fresh = [] if prompt else [7]
    place = Place(id=at, key="", length=length)
    return Seat(job, tokens, 10**6, RowSampler(Options(), tokens, 256), fresh, sequence=place)


def ids(part: Plan) -> list[int]:
    return [seat.place.id for seat in part.seats]


def test_a_long_sequence_is_computed_apart() -> None:
    """Short ones do not pay for it, if that is worth another execution of the graph."""
    plan = Plan([seat(0, 100), seat(1, 9000), seat(2, 120)], [], by_sequence=True)
    assert [ids(part) for part in plan.parts(5000)] == [[0, 2], [1]]
    assert [sorted(ids(part)) for part in plan.parts(50_000)] == [[0, 1, 2]]


def test_prompts_are_computed_apart_from_heads() -> None:
    """In streams they take another execution anyhow."""
    plan = Plan([seat(0, 100)], [(seat(1, 0, prompt=64), 64)], by_sequence=True)
    assert [(len(part.heads), part.prompt_tokens) for part in plan.parts(5000)] == [(1, 0), (0, 64)]


def test_in_one_pool_all_rows_go_together() -> None:
    """There is nothing to gain by parting them."""
    plan = Plan([seat(0, 100), seat(1, 9000)], [(seat(2, 0, prompt=64), 64)])
    assert plan.parts(1) == [plan]


@pytest.mark.parametrize("worth", [0.0, 100.0, 1e9])
def test_nobody_is_lost_or_asked_twice(worth: float) -> None:
    """However rows are grouped, each seat is in one group."""
    rows = [(seat(n, 37 * n % 500), 1) for n in range(20)]
    grouped = [seat.place.id for group in alike(rows, worth) for seat, _ in group]
    assert sorted(grouped) == list(range(20))


def test_rows_of_streams_go_by_their_ids() -> None:
    """llama.cpp computes together what follows each other; fillers stand between, unasked."""
    plan = Plan([seat(3, 10), seat(0, 20), seat(1, 5)], [], by_sequence=True)
    batch = Batch(16)
    sampled = plan.fill(batch, [(2, 8)])
    assert batch.sequences[: batch.size].tolist() == [0, 1, 2, 3]
    assert batch.positions[: batch.size].tolist() == [20, 5, 8, 10]
    assert batch.wants_logits[: batch.size].tolist() == [1, 1, 0, 1]
    assert [seat.place.id for seat in sampled] == [0, 1, 3]


def test_the_budget_learns_what_rows_pay_for() -> None:
    """In streams all rows of a part pay for its longest sequence."""
    heads = [seat(0, 100), seat(1, 300)]
    assert Plan(heads, []).load(400).seen == 400
    assert Plan(heads, [], by_sequence=True).load(400).seen == 600


@pytest.mark.parametrize(
    ("budget", "room", "counts"),
    [(60, 999, [60]), (90, 999, [100]), (90, 95, [90]), (100, 999, [100]), (195, 999, [100, 100])],
)
def test_a_prompt_that_nearly_fits_is_computed_whole(
    budget: int, room: int, counts: list[int]
) -> None:
    """What would be left of it costs another execution; there must be room for it, though."""
    waiting = [seat(0, 0, prompt=100), seat(1, 0, prompt=100)]
    assert [count for _, count in divide(waiting, budget, 0, room)] == counts


@pytest.mark.parametrize(
    ("budget", "counts"),
    [(60, [60]), (80, [100]), (130, [100]), (160, [100, 100]), (290, [100, 100, 100])],
)
def test_apart_no_prompt_is_begun_only_to_be_cut(budget: int, counts: list[int]) -> None:
    """Each chunk is an execution of its own: one prompt waits for the next step instead, or the
    step grows by up to a third of it."""
    waiting = [seat(at, 0, prompt=100) for at in range(4)]
    assert [count for _, count in divide(waiting, budget, 0, 999, apart=True)] == counts


def test_apart_what_fits_no_step_is_cut_all_the_same() -> None:
    """A long prompt takes what others leave; one that was begun is not stretched for."""
    waiting = [seat(0, 0, prompt=100), seat(1, 0, prompt=5000)]
    assert [count for _, count in divide(waiting, 300, 0, 999, apart=True)] == [100, 200]
    begun = [seat(0, 600, prompt=130)]
    assert [count for _, count in divide(begun, 100, 0, 999, apart=True)] == [100]
