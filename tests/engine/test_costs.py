"""A linear model of durations finds the prices it is shown."""

from __future__ import annotations

import random

import pytest

from trillama.engine.costs import LinearCost


def test_prices_are_found_from_a_few_durations() -> None:
    """Two kinds of work, seen in different mixtures, are told apart."""
    cost = LinearCost(2)
    for amounts in ((1.0, 0.0), (10.0, 500.0), (4.0, 2000.0)):
        cost.observe(amounts, 5 * amounts[0] + 0.25 * amounts[1])
    assert cost.predict((8, 1000)) == pytest.approx(8 * 5 + 0.25 * 1000, rel=1e-3)


def test_nothing_known_predicts_nothing() -> None:
    """Before the first observation nobody should trust a number."""
    cost = LinearCost(3)
    assert not cost.known
    assert cost.predict((1, 2, 3)) == 0


def test_no_price_is_negative() -> None:
    """More work never makes a step look shorter, whatever noise says."""
    cost, dice = LinearCost(3), random.Random(1)
    for _ in range(100):
        amounts = (dice.uniform(1, 99), dice.uniform(0, 1e5), dice.uniform(0, 1e4))
        cost.observe(amounts, 40 * amounts[0] * dice.uniform(0.2, 3))
        for kind in range(3):
            assert cost.predict([float(kind == other) for other in range(3)]) >= 0


def test_a_changed_machine_is_learned_anew() -> None:
    """Old durations fade: after some twenty new ones they count for nothing."""
    cost = LinearCost(1)
    for price in [7.0] * 50 + [2.0] * 60:
        cost.observe((3.0,), 3 * price)
    assert cost.predict((1,)) == pytest.approx(2, rel=0.02)


def test_works_that_always_come_together_still_add_up() -> None:
    """Where nothing tells two prices apart, what was seen is predicted right all the same."""
    cost = LinearCost(2)
    for _ in range(30):
        cost.observe((16.0, 32.0), 640.0)
    assert cost.predict((16, 32)) == pytest.approx(640, rel=0.01)
    assert cost.predict((8, 16)) == pytest.approx(320, rel=0.01)
