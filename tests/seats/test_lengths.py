"""What is expected of answers' lengths, and the memory that answers growing together need."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trillama.seats.lengths import Lengths, peak_growth


def test_lengths_are_learned() -> None:
    """After some answers the next is expected to be like them, never longer than it may be."""
    lengths = Lengths()
    for _ in range(200):
        lengths.learn(50)
    assert round(lengths.expected(1000)) == 50
    assert lengths.expected(20) == 20
    assert 50 <= lengths.to_come(0, 1000) < 60
    assert lengths.to_come(500, 1000) == 1


def test_lengths_that_vary_are_reckoned_with_cautiously() -> None:
    """Where answers differ, room is kept for the longer ones."""
    lengths = Lengths()
    for number in range(400):
        lengths.learn(10 if number % 2 else 90)
    assert 40 < lengths.expected(1000) < 60
    assert lengths.to_come(0, 1000) > 90


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 20)), max_size=12))
def test_the_peak_is_the_highest_of_a_simulation(answers: list[tuple[int, int]]) -> None:
    """Answers that each take a cell a step and leave at their end never need more, nor less."""
    highest = 0
    for step in range(1, 31):
        grown = sum(min(step, growth) for growth, _ in answers if growth >= step)
        freed = sum(cells for growth, cells in answers if growth < step)
        highest = max(highest, grown - freed)
    assert peak_growth(answers) == highest
