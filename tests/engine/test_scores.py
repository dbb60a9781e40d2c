"""Log-probabilities are those of the model, before anything bends them."""

from __future__ import annotations

import numpy as np
import pytest

from trillama.engine.scores import LEAST, token_scores


def test_the_scores_are_a_log_softmax() -> None:
    """Of the chosen token, and of the most probable ones in order."""
    row = np.random.default_rng(1).standard_normal(1000).astype(np.float32) * 4
    exact = row - np.log(np.exp(row.astype(np.float64)).sum())
    found = token_scores(row, 17, 5)

    assert found.logprob == pytest.approx(exact[17], abs=1e-5)
    assert [token for token, _ in found.top] == np.argsort(-exact)[:5].tolist()
    assert [score for _, score in found.top] == pytest.approx(sorted(exact)[:-6:-1], abs=1e-5)


def test_no_alternatives_cost_nothing() -> None:
    """Only the chosen token is scored."""
    assert token_scores(np.zeros(4, np.float32), 0, 0).top == ()


def test_an_impossible_token_has_a_finite_score() -> None:
    """JSON knows no infinity."""
    row = np.array([0, -np.inf, 0], np.float32)

    assert token_scores(row, 1, 3).logprob == LEAST
    assert token_scores(row, 0, 3).top[2] == (1, LEAST)
