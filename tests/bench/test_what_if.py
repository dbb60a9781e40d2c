"""The step loop at a GPU's prices: cut as llama.cpp cuts, and everybody is answered."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.what_if import HEAD, NEW, PROMPT, Trial, executions, long_prompt, price_ms


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ({0: 1, 1: 1, 2: 1}, [(3, 1)]),
        ({0: 1, 2: 1, 3: 1}, [(1, 1), (2, 1)]),
        ({4: 256, 5: 256}, [(2, 256)]),
        ({4: 256, 5: 174}, [(2, 174), (1, 82)]),
        ({4: 256, 7: 174}, [(1, 256), (1, 174)]),
        (dict.fromkeys(range(3), 256), [(3, 170), (3, 86)]),
        ({0: 1300}, [(1, 512), (1, 512), (1, 276)]),
    ],
)
def test_a_batch_is_cut_into_executions(rows: dict[int, int], parts: list[tuple[int, int]]) -> None:
    """Neighbours together, as many rows of each, no more than a micro batch."""
    assert list(executions(Counter(rows))) == parts


def test_an_execution_of_more_costs_more_and_less_a_row() -> None:
    """The prices are those of a GPU."""
    assert price_ms(64, 1, 0) < 64 * price_ms(1, 1, 0) / 10
    assert price_ms(1, 512, 0) < 2 * price_ms(1, 256, 0)
    assert price_ms(1, 256, 30_000) > price_ms(1, 256, 0)


def test_everybody_is_answered_in_full() -> None:
    """Closed-loop clients get all tokens of all requests, and their times are of the clock."""
    trial = Trial(6, 512)
    for _ in range(6):
        trial.ask(PROMPT, NEW)
    while trial.outcome.ended < 18:
        trial.step(18)
    outcome = trial.outcome
    assert (outcome.tokens, len(outcome.first)) == (18 * NEW, 18)
    assert len(outcome.gaps) == 18 * (NEW - 1)
    assert all(0 < gap < 1000 for _, gap in outcome.gaps)
    computed = sum(rows for rows, _ in trial.context.chunks)
    assert computed == pytest.approx(18 * PROMPT, rel=0.01)  # a last single row looks like a head


def test_a_long_prompt_joins_streams() -> None:
    """The line tells what they feel, and that it is bounded."""
    line = long_prompt(8, 4000)
    ratio = float(line.split("(")[1].split(")")[0])
    assert "4000 tokens among 8 streams" in line
    assert 1 < ratio < 5
    assert len(HEAD) == 6
