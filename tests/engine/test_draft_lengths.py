"""How many guesses pay for themselves."""

from __future__ import annotations

import itertools
import random

import pytest

from trillama.engine.draft_lengths import LEAST_GAIN, RowPrice, Trust, share_out


def rate(
    chances: list[float], counts: tuple[int, ...], sure: int, prices: tuple[float, float]
) -> float:
    """Tokens a nanosecond."""
    tokens = sure + sum(
        chance ** (n + 1)
        for chance, count in zip(chances, counts, strict=True)
        for n in range(count)
    )
    return tokens / (prices[0] + sum(counts) * prices[1])


def test_no_other_division_brings_more() -> None:
    """Against all divisions, or none where the best one is hardly better than none."""
    chooser = random.Random(3)
    for _ in range(200):
        answers = chooser.randint(1, 3)
        chances = [chooser.uniform(0.05, 0.99) for _ in range(answers)]
        most = [chooser.randint(0, 4) for _ in range(answers)]
        sure, prices = (
            chooser.randint(answers, 6),
            (100.0, chooser.choice((1.0, 10.0, 40.0, 200.0))),
        )
        room = chooser.choice((0, 2, 4, 12))
        counts = tuple(share_out(chances, most, sure, prices, room))
        assert sum(counts) <= room
        every = [
            one for one in itertools.product(*(range(n + 1) for n in most)) if sum(one) <= room
        ]
        best = max(rate(chances, one, sure, prices) for one in every)
        if any(counts):
            assert rate(chances, counts, sure, prices) == pytest.approx(best)
        else:
            assert best <= LEAST_GAIN * sure / prices[0] * 1.000001


def test_free_rows_are_all_taken_and_dear_ones_none() -> None:
    """A device that waits for its memory computes guesses along; a busy one does not."""
    assert share_out([0.9], [31], 1, (100.0, 0.0), 40) == [31]
    assert share_out([0.9], [31], 1, (100.0, 100.0), 40) == [0]


def test_what_room_there_is_goes_to_the_likeliest() -> None:
    """Not to whoever comes first."""
    assert share_out([0.5, 0.9], [4, 4], 2, (100.0, 1.0), 3) == [0, 3]
    assert share_out([0.9, 0.5], [4, 4], 2, (100.0, 1.0), 0) == [0, 0]


def test_trust_goes_quickly_and_comes_back_slowly() -> None:
    """A copy is trusted more from check to check; four failures end what thirty successes built."""
    trust = Trust()
    before = trust.chance
    for _ in range(30):
        trust.learn(8, 8)
    assert before < trust.chance < 1
    for _ in range(6):
        trust.learn(0, 8)
    assert trust.chance < 0.5
    for _ in range(200):
        trust.rest()
    assert trust.chance == pytest.approx(before, abs=0.05)


def test_the_price_of_a_row_is_what_was_measured() -> None:
    """It is followed over some steps, within bounds, and forgotten where nothing is guessed."""
    price = RowPrice()
    for _ in range(30):
        price.learn(300.0, 100.0)
    assert price.factor == pytest.approx(3.0, rel=0.01)
    price.learn(-1e9, 100.0)
    assert price.factor > 0
    for _ in range(500):
        price.rest()
    assert price.factor == pytest.approx(1.0, abs=0.01)
