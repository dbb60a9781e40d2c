"""A linear model of durations, learned as they come.

Pure; used by ``budget``. Weighted least squares over the latest observations, older ones fading,
with every price at least zero: a step never gets cheaper by doing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FADE = 0.95
"""Weight of an observation beside the next one: about twenty of them count."""
_RIDGE = 1e-6

Floats: TypeAlias = npt.NDArray[np.float64]


class LinearCost:
    """Duration as a sum of amounts times prices.

    Args:
        amounts: how many kinds of work there are.

    Attributes:
        known: something was observed.
    """

    def __init__(self, amounts: int) -> None:
        self.known = False
        self._squares = np.zeros((amounts, amounts))
        self._products = np.zeros(amounts)
        self._prices = np.zeros(amounts)
        self._solved = True

    def predict(self, amounts: Sequence[float]) -> float:
        """Expected duration for ``amounts``; 0 as long as nothing is known."""
        if not self._solved:
            self._prices = _solve(self._squares, self._products)
            self._solved = True
        return float(np.dot(self._prices, amounts))

    def observe(self, amounts: Sequence[float], duration: float) -> None:
        """Learn one duration; its relative error is what counts, whatever its size."""
        row = np.array(amounts, np.float64)
        weight = 1.0 / max(duration, 1.0) ** 2
        self._squares = FADE * self._squares + weight * np.outer(row, row)
        self._products = FADE * self._products + weight * duration * row
        self.known, self._solved = True, False


def _solve(squares: Floats, products: Floats) -> Floats:
    """The best prices that are not negative: those of the largest set of works that has none."""
    count = len(products)
    best, best_gain = np.zeros(count), 0.0
    for size in range(count, 0, -1):
        for kinds in map(list, combinations(range(count), size)):
            found = _least_squares(squares[np.ix_(kinds, kinds)], products[kinds])
            gain = float(np.dot(found, products[kinds]))
            if found.min() >= 0 and gain > best_gain:
                best, best_gain = np.zeros(count), gain
                best[kinds] = found
        if best_gain:
            break
    return best


def _least_squares(squares: Floats, products: Floats) -> Floats:
    """Prices by the normal equations, scaled, and kept small where works always came together."""
    scale = 1.0 / np.sqrt(np.maximum(np.diag(squares), 1e-300))
    scaled = squares * np.outer(scale, scale) + _RIDGE * np.eye(len(scale))
    prices: Floats = np.linalg.solve(scaled, products * scale) * scale
    return prices
