"""The step budget against a machine whose step times are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

import pytest

from trillama.engine.base import Attention, ContextLimits
from trillama.engine.budget import (
    BRIEF_NS,
    GRAIN,
    IDLE_STEP_NS,
    KNEE,
    LEARN_EVERY,
    MOST_BURST_GAPS,
    STRETCH,
    UNNOTICED_NS,
    Load,
    StepBudget,
)

MS = 1_000_000
LIMITS = ContextLimits(
    cells=16_384, sequence_cells=16_384, sequences=64, batch=2048, micro_batch=512, outputs=64,
    can_shift=True,
)  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """Milliseconds of a step, of a row, and of 1,000 cells: that a row sees, that are in use."""

    step: float = 1
    row: float = 1
    seen: float = 0.01
    tile_seen: float = 0.01
    used: float = 0.01

    def time(self, load: Load, tokens: int) -> int:
        """Nanoseconds of a step."""
        rows, seen = load.generating + tokens, tokens * load.depth
        if rows < KNEE:
            time = self.step + self.row * rows + self.seen * (seen + load.seen) / 1000
        else:
            time = self.step + self.row * rows + self.used * load.cells / 1000
            time += self.tile_seen * seen / 1000
        return int(time * MS)


CROWD = Load(16, 1600, cells=1600)


def trained(machine: Machine | None = None, load: Load = CROWD, mode: str = "auto") -> StepBudget:
    machine = machine or Machine()
    budget = StepBudget(mode, LIMITS)
    budget.observe(Load(0, cells=512), 512, machine.time(Load(0, cells=512), 512))
    for _ in range(60):
        budget.observe(load, 0, machine.time(load, 0))
        tokens = budget.choose(load)
        budget.observe(load, tokens, machine.time(load, tokens))
    return budget


def test_a_step_with_prompt_tokens_stays_within_its_stretch() -> None:
    """The gap of running streams is bounded by what was measured."""
    machine = Machine(row=4)
    tokens = trained(machine).choose(CROWD)
    bound = STRETCH * machine.time(CROWD, 0)
    assert machine.time(CROWD, tokens) <= 1.05 * bound
    assert machine.time(CROWD, tokens + 2 * GRAIN) > bound


def test_a_slower_prompt_gets_smaller_chunks() -> None:
    """Tokens that cost more come fewer at a time."""
    cheap, dear = (trained(Machine(row=row)).choose(CROWD) for row in (0.5, 2))
    assert dear < cheap


def test_what_was_learned_at_one_depth_holds_at_another() -> None:
    """A prompt of which more is computed gets smaller chunks before a slow step was seen."""
    machine = Machine(seen=0.2, used=60)
    budget = trained(machine, Load(16, 1600, 1, 500, 3000))
    for depth in range(500, 4000, 500):
        load = Load(16, 1600, 1, depth, 3000 + depth)
        tokens = budget.choose(load)
        assert machine.time(load, tokens) <= 1.1 * budget.allowed_ns(load)
        budget.observe(load, tokens, machine.time(load, tokens))


def test_tiles_are_used_where_they_are_cheaper() -> None:
    """Where single rows pay dearly for what they see, a large step carries more a second."""
    load = Load(16, 1600, 1, 2000, 4000)
    assert trained(Machine(row=0.3, seen=2, used=5), load).choose(load) >= KNEE - 16
    assert trained(Machine(row=0.3, seen=0.1, used=100), load).choose(load) < KNEE - 16


def test_a_prompt_does_not_crawl() -> None:
    """Where a single row already breaks the bound, the smallest tiled step is taken instead."""
    load, machine = Load(16, 1600, 1, 12_000, 14_000), Machine(seen=20, used=10)
    budget = trained(machine, load)
    assert machine.time(load, 1) > budget.allowed_ns(load)
    assert budget.choose(load) == KNEE - 16


def test_the_bound_holds_down_to_single_tokens() -> None:
    """Where tiles would not be much faster, a prompt advances token by token."""
    load, machine = Load(16, 1600, 1, 12_000, 14_000), Machine(seen=2, used=40)
    tokens = trained(machine, load).choose(load)
    assert 1 <= tokens <= 2
    assert machine.time(load, tokens) <= STRETCH * machine.time(load, 0) + UNNOTICED_NS


def test_gaps_nobody_notices_are_used() -> None:
    """Beside one quick stream a chunk may take as long as a gap that is not seen."""
    load, machine = Load(1, 100, cells=100), Machine()
    time = machine.time(load, trained(machine, load).choose(load))
    assert STRETCH * machine.time(load, 0) < time <= 1.1 * UNNOTICED_NS


@pytest.mark.parametrize("generating", [1, 8, 32, 64])
def test_a_fast_machine_does_not_fill_gaps_nobody_notices(generating: int) -> None:
    """On a GPU (8 ms a step, 0.1 ms a row, attention for nothing) no gap triples."""
    machine, load = Machine(step=8, row=0.1, seen=0, used=0, tile_seen=0), Load(generating)
    tokens = trained(machine, load).choose(load)
    assert tokens >= KNEE
    assert machine.time(load, tokens) <= 3 * machine.time(load, 0)


def test_short_prompts_fill_gaps_nobody_notices() -> None:
    """The same machine computes 256 tokens of a short prompt at once, and no more than a gap may
    take of many; 256 tokens of a long one it divides."""
    machine, load = Machine(step=8, row=0.1, seen=0, used=0, tile_seen=0), Load(32)
    budget = trained(machine, load)
    assert budget.choose(load) < 200
    assert 256 <= budget.choose(replace(load, brief=256)) < 300
    tokens = budget.choose(replace(load, waiting=3, brief=3 * 900))
    assert tokens > 400
    assert machine.time(load, tokens) <= 1.05 * BRIEF_NS


def gpu_step(load: Load, tokens: int) -> int:
    """Nanoseconds of a simulated GPU's step: in one pool every row looks at all cells in use."""
    rows = load.generating + tokens
    return int((6 + 0.06 * rows + 5e-6 * rows * load.cells) * MS)


def test_a_long_prompt_does_not_excuse_ever_longer_gaps() -> None:
    """Streams are held to what they were used to, however full a prompt makes a GPU's pool."""
    budget, seen = StepBudget("auto", LIMITS), 8_000
    budget.observe(Load(0, cells=512), 512, gpu_step(Load(0, cells=512), 512))
    for _ in range(30):
        alone = Load(32, seen, cells=seen)
        budget.observe(alone, 0, gpu_step(alone, 0))
    times, done = [], 0
    while done < 32_000:
        load = Load(32, seen, 1, done, seen + done)
        tokens = budget.choose(load)
        times.append(gpu_step(load, tokens))
        budget.observe(load, tokens, times[-1])
        done += tokens
    assert max(times[5:]) <= 3 * gpu_step(alone, 0)
    assert len(times) < 1000, "the prompt crawls"


def test_many_who_wait_outweigh_few_who_run() -> None:
    """One stream is not kept smooth at the price of fifteen that cannot begin."""
    few = trained(load=Load(1, 100, cells=100))
    assert few.choose(Load(1, 100, 15)) > 2 * few.choose(Load(1, 100, 1))
    many = trained()
    assert many.choose(Load(16, 1600, 3)) == many.choose(Load(16, 1600, 1))


@pytest.mark.parametrize("waiting", [7, 15, 31])
def test_who_answers_is_not_halted_for_a_crowd(waiting: int) -> None:
    """A crowd's prompts may cost those who began before it so many gaps, and they are used."""
    machine, load = Machine(step=8, row=4), Load(1, 100, waiting, cells=100)
    budget = trained(machine, replace(load, waiting=1))
    gap = machine.time(Load(1 + waiting, 100, cells=100), 0)
    time = machine.time(load, budget.choose(load))
    assert 0.8 * MOST_BURST_GAPS * gap <= time <= 1.1 * MOST_BURST_GAPS * gap


def test_an_idle_server_takes_whole_batches() -> None:
    """While nobody generates a step is bounded by time alone."""
    budget = StepBudget("auto", LIMITS)
    assert budget.choose(Load(0)) == 512
    budget.observe(Load(0), 512, IDLE_STEP_NS // 10)
    assert budget.choose(Load(0)) == 2048


@pytest.mark.parametrize(
    ("lone_ms", "waiting", "tokens"),
    [(0, 16, 512), (7, 1, 512), (7, 16, 2048), (150, 16, 512), (40, 16, 900)],
)
def test_a_crowd_that_waited_for_the_model_begins_together(
    lone_ms: int, waiting: int, tokens: int
) -> None:
    """What the warm-up took tells how much of the first step a machine can do in good time."""
    budget = StepBudget("auto", LIMITS, lone_ns=lone_ms * MS)
    assert budget.choose(Load(0, waiting=waiting)) == tokens


def test_a_slow_machine_lets_newcomers_join() -> None:
    """On a machine of 100 ms a token even a prompt-only step ends before long."""
    budget = StepBudget("auto", LIMITS)
    budget.observe(Load(0), 128, 128 * 100 * MS)
    assert budget.choose(Load(0)) == 128


@pytest.mark.parametrize(("mode", "chunk"), [("off", 2032), ("48", 48), ("9999", 2032)])
def test_the_budget_can_be_fixed_or_switched_off(mode: str, chunk: int) -> None:
    """A number is taken as it is, off means the rest of the batch."""
    assert trained(mode=mode).choose(CROWD) == chunk


def test_one_noisy_step_does_not_close_the_tap() -> None:
    """A hiccup of the machine makes the next chunks smaller, never nothing, and is forgotten."""
    budget, machine = trained(), Machine()
    usual = budget.choose(CROWD)
    budget.observe(CROWD, usual, 2000 * MS)
    assert budget.choose(CROWD) >= 1
    for _ in range(60):
        tokens = budget.choose(CROWD)
        budget.observe(CROWD, tokens, machine.time(CROWD, tokens))
    assert budget.choose(CROWD) >= usual - GRAIN


@pytest.mark.parametrize("slow", [1, 3, 6])
def test_a_crowd_begins_together_on_slow_machines_too(slow: float) -> None:
    """Those who begin in one step stay in step; where all takes longer, so may this."""
    machine = Machine(step=4 * slow, row=slow)
    budget = StepBudget("auto", LIMITS)
    for tokens in (1, 8, 64, 512) * 8:
        budget.observe(Load(0), tokens, machine.time(Load(0), tokens))
    assert budget.choose(Load(0, waiting=8)) >= 800


def apart(load: Load, tokens: int) -> int:
    """Nanoseconds of a step of two executions: 16 heads beside a prompt, as measured on two cores.

    Heads want logits, which makes their rows dearer; a prompt's rows read its cells together.
    """
    heads = 7 + 4.5 * load.generating + 0.005 * load.seen if load.generating else 0
    chunk = 6 + 2.9 * tokens + 0.004 * load.depth + 0.0015 * tokens * load.depth
    return int((heads + (chunk if tokens else 0)) * MS)


def trained_apart() -> StepBudget:
    budget = StepBudget("auto", replace(LIMITS, attention=Attention.SEPARATE))
    budget.observe(Load(0), 100, apart(Load(0), 100))
    for _ in range(20):
        budget.observe(Load(16, 1600), 0, apart(Load(16, 1600), 0))
    return budget


def read_apart(
    budget: StepBudget, speed: Callable[[], float] = lambda: 1.0
) -> Iterator[tuple[Load, Load, int, float]]:
    """A prompt of 12,000 tokens beside 16 heads, step by step.

    Yields:
        the heads, the whole step, its tokens, and how long it takes in steps of the heads alone.
    """
    done = steps = 0
    while done < 12_000:
        heads, prompt = Load(16, 1600 + 16 * steps), Load(0, depth=done)
        load = replace(heads, depth=done)
        tokens, usual = budget.choose(load), apart(heads, 0)
        beside, chunk = int(usual * speed()), int(apart(prompt, tokens) * speed())
        yield heads, load, tokens, (beside + chunk) / usual
        steps += 1
        if steps % LEARN_EVERY == 0:
            budget.observe(heads, 0, beside)
        budget.observe(prompt, tokens, chunk)
        done += tokens


def test_prompts_apart_keep_the_bound_from_first_to_last() -> None:
    """Where sequences have cells of their own, a deep prompt's few rows are priced as what they
    are, and what heads cost is not mistaken for it."""
    budget, ratios = trained_apart(), []
    for heads, load, tokens, ratio in read_apart(budget):
        ratios.append(ratio)
        assert budget.predict_ns(heads, 0) == pytest.approx(apart(heads, 0), rel=0.08)
        assert budget.predict_ns(load, tokens) == pytest.approx(apart(load, tokens), rel=0.08)
    assert max(ratios[10:]) <= 1.05 * STRETCH
    assert sum(ratios) / len(ratios) >= 0.85 * STRETCH, "steps are left half empty"


@pytest.mark.parametrize("seed", range(4))
def test_a_machine_of_changing_speed_is_not_taken_for_free_tokens(seed: int) -> None:
    """Chunks that are all alike say little of what one more token costs: where times vary by a
    fifth, a step once in a while took a whole batch, for minutes."""
    random = Random(seed)
    steps = read_apart(trained_apart(), lambda: random.uniform(0.8, 1.25))
    ratios = [ratio for *_, ratio in steps]
    assert max(ratios) <= 1.5 * STRETCH
    assert sum(ratios) / len(ratios) >= 0.7 * STRETCH, "steps are left half empty"
