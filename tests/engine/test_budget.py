"""The step budget against a machine whose step times are known."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from trillama.engine.budget import (
    FIRST_CHUNK,
    GRAIN,
    IDLE_STEP_NS,
    KNEE,
    STRETCH,
    UNNOTICED_NS,
    Load,
    StepBudget,
)

MS = 1_000_000


@dataclass(frozen=True)
class Machine:
    """Milliseconds of a row, of a prompt token, and of 1,000 cells: seen by a row in a small step,
    in use in a large one."""

    row: float = 2
    token: float = 1
    seen: float = 0
    used: float = 0

    def step(self, load: Load, tokens: int) -> int:
        """Nanoseconds of a step."""
        time = self.row * load.generating + self.token * tokens
        if load.generating + tokens < KNEE:
            time += self.seen * tokens * load.depth / 1000
        elif tokens:
            time += self.used * load.cells / 1000
        return int(time * MS)


def trained(
    machine: Machine | None = None, load: Load | None = None, mode: str = "auto"
) -> StepBudget:
    machine, load = machine or Machine(), load or Load(16)
    budget = StepBudget(mode, 2048, 512)
    budget.observe(Load(0), 512, machine.step(Load(0, cells=512), 512))
    for _ in range(30):
        budget.observe(Load(load.generating), 0, machine.step(load, 0))
        tokens = budget.choose(load)
        budget.observe(load, tokens, machine.step(load, tokens))
    return budget


def test_a_step_with_prompt_tokens_stays_within_its_stretch() -> None:
    """The gap of running streams is bounded by what was measured."""
    tokens, machine = trained().choose(Load(16)), Machine()
    bound = STRETCH * machine.step(Load(16), 0)
    assert machine.step(Load(16), tokens) <= bound < machine.step(Load(16), tokens + 2 * GRAIN)


def test_a_slower_prompt_gets_smaller_chunks() -> None:
    """Tokens that cost more come fewer at a time."""
    assert trained(Machine(token=2)).choose(Load(16)) < trained().choose(Load(16))


def test_a_long_context_shrinks_chunks_to_single_tokens() -> None:
    """Attention over a long context makes tokens dearer; the bound holds down to one token."""
    machine, load = Machine(seen=4, used=40), Load(16, 1, 10_000, 12_000)
    tokens = trained(machine, load).choose(load)
    assert tokens == 1
    assert machine.step(load, 1) <= STRETCH * machine.step(load, 0)


def test_what_was_learned_at_one_depth_holds_at_another() -> None:
    """A prompt of which more is computed gets smaller chunks before a slow step was seen."""
    machine = Machine(seen=1, used=400)
    budget = trained(machine, Load(16, 1, 500, 3000))
    for depth in range(500, 4000, 500):
        load = Load(16, 1, depth, 3000 + depth)
        tokens = budget.choose(load)
        assert machine.step(load, tokens) <= 1.05 * budget.allowed_ns(load)
        budget.observe(load, tokens, machine.step(load, tokens))


def test_tiles_are_used_where_they_are_cheaper() -> None:
    """Where single rows pay dearly for what they see, a large step carries more a second."""
    load = Load(16, 16, 2000, 4000)
    assert trained(Machine(seen=2, used=5), load).choose(load) >= KNEE - 16
    assert trained(Machine(seen=0.1, used=100), load).choose(load) < KNEE - 16


def test_gaps_nobody_notices_are_used() -> None:
    """Beside one quick stream a chunk may take as long as a gap that is not seen."""
    load, machine = Load(1), Machine()
    tokens = trained(machine, load).choose(load)
    assert STRETCH * machine.step(load, 0) < machine.step(load, tokens) <= 1.05 * UNNOTICED_NS


@pytest.mark.parametrize("generating", [1, 8, 32, 64])
def test_a_fast_machine_does_not_fill_gaps_nobody_notices(generating: int) -> None:
    """On a GPU (8 ms a step whatever its rows, 0.1 ms a prompt token) no gap triples."""
    machine, load = Machine(row=8 / generating, token=0.1), Load(generating)
    tokens = trained(machine, load).choose(load)
    assert tokens >= KNEE
    assert machine.step(load, tokens) <= 3 * machine.step(load, 0)


def test_many_who_wait_outweigh_few_who_run() -> None:
    """One stream is not kept smooth at the price of fifteen that cannot begin."""
    few = trained(load=Load(1))
    assert few.choose(Load(1, 15)) > 5 * few.choose(Load(1, 1))
    many = trained(load=Load(16))
    assert many.choose(Load(16, 3)) == many.choose(Load(16, 1))


def test_an_idle_server_takes_whole_batches() -> None:
    """While nobody generates a step is bounded by time alone."""
    budget = StepBudget("auto", 2048, 512)
    assert budget.choose(Load(0)) == 512
    budget.observe(Load(0), 512, IDLE_STEP_NS // 4)
    assert budget.choose(Load(0)) == 2048


def test_a_slow_machine_lets_newcomers_join() -> None:
    """On a machine of 100 ms a token even a prompt-only step ends before long."""
    budget = StepBudget("auto", 2048, 512)
    budget.observe(Load(0), 128, 128 * 100 * MS)
    assert budget.choose(Load(0)) == 128


def test_before_anything_is_measured_chunks_are_small() -> None:
    """The first mixed step is careful."""
    assert StepBudget("auto", 2048, 512).choose(Load(4)) == FIRST_CHUNK


@pytest.mark.parametrize(("mode", "chunk"), [("off", 2032), ("48", 48), ("9999", 2032)])
def test_the_budget_can_be_fixed_or_switched_off(mode: str, chunk: int) -> None:
    """A number is taken as it is, off means the rest of the batch."""
    assert trained(mode=mode).choose(Load(16)) == chunk


def test_one_noisy_step_does_not_close_the_tap() -> None:
    """A hiccup of the machine makes the next chunks smaller, never nothing, and is forgotten."""
    budget, load, machine = trained(), Load(16), Machine()
    usual = budget.choose(load)
    budget.observe(load, usual, 2000 * MS)
    assert budget.choose(load) >= 1
    for _ in range(30):
        tokens = budget.choose(load)
        budget.observe(load, tokens, machine.step(load, tokens))
    assert budget.choose(load) >= usual - GRAIN
