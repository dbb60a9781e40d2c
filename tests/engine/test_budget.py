"""The step budget against a machine whose step times are known."""

from __future__ import annotations

import pytest

from trillama.engine.budget import FIRST_CHUNK, GRAIN, STRETCH, UNNOTICED_NS, StepBudget

MS = 1_000_000


def machine(generating: int, prompt: int, token_ns: float = 1.0 * MS) -> int:
    """Nanoseconds of a step on a machine of plain costs: 2 ms a row, 1 ms a prompt token."""
    return int(2 * MS * generating + token_ns * prompt)


def trained(mode: str = "auto", generating: int = 16, token_ns: float = 1.0 * MS) -> StepBudget:
    budget = StepBudget(mode, 2048, 512)
    for _ in range(30):
        budget.observe(generating, 0, machine(generating, 0))
        chunk = budget.choose(generating)
        budget.observe(generating, chunk, machine(generating, chunk, token_ns))
    return budget


def test_a_step_with_prompt_tokens_stays_within_its_stretch() -> None:
    """The gap of running streams is bounded by what was measured."""
    chunk = trained().choose(16)
    assert machine(16, chunk) <= STRETCH * machine(16, 0)
    assert machine(16, chunk + 2 * GRAIN) > STRETCH * machine(16, 0)


def test_a_slower_prompt_gets_smaller_chunks() -> None:
    """Attention over a long context makes tokens dearer; the chunk shrinks with it."""
    assert trained(token_ns=2.0 * MS).choose(16) < trained().choose(16)


def test_gaps_nobody_notices_are_used() -> None:
    """Beside one quick stream a chunk may take as long as a gap that is not seen."""
    chunk = trained(generating=1).choose(1)
    assert machine(1, chunk) > STRETCH * machine(1, 0)
    assert machine(1, chunk) <= UNNOTICED_NS


def test_many_who_wait_outweigh_few_who_run() -> None:
    """One stream is not kept smooth at the price of fifteen that cannot begin."""
    few = trained(generating=1)
    assert few.choose(1, 15) > 10 * few.choose(1, 1)
    many = trained(generating=16)
    assert many.choose(16, 8) == many.choose(16, 1)


def test_an_idle_server_takes_whole_batches() -> None:
    """While nobody generates a step is bounded by time alone."""
    budget = StepBudget("auto", 2048, 512)
    assert budget.choose(0) == 512
    budget.observe(0, 512, 512 * MS // 2)
    assert budget.choose(0) == 2048


def test_a_slow_machine_lets_newcomers_join() -> None:
    """On a machine of 100 ms a token even a prompt-only step ends before long."""
    budget = StepBudget("auto", 2048, 512)
    budget.observe(0, 128, 128 * 100 * MS)
    assert budget.choose(0) == 128


def test_before_anything_is_measured_chunks_are_small() -> None:
    """The first mixed step is careful."""
    assert StepBudget("auto", 2048, 512).choose(4) == FIRST_CHUNK


@pytest.mark.parametrize(("mode", "chunk"), [("off", 2032), ("48", 48), ("9999", 2032)])
def test_the_budget_can_be_fixed_or_switched_off(mode: str, chunk: int) -> None:
    """A number is taken as it is, off means the rest of the batch."""
    assert trained(mode).choose(16) == chunk


def test_one_noisy_step_does_not_close_the_tap() -> None:
    """A hiccup of the machine makes the next chunks smaller, never nothing, and is forgotten."""
    budget = trained()
    usual = budget.choose(16)
    budget.observe(16, usual, 2000 * MS)
    assert budget.choose(16) >= GRAIN
    for _ in range(30):
        chunk = budget.choose(16)
        budget.observe(16, chunk, machine(16, chunk))
    assert budget.choose(16) >= usual - GRAIN
