"""How long answers get: learned from those that ended, used for those that begin. Pure."""

from __future__ import annotations

from collections.abc import Iterable

TYPICAL = 256
"""Tokens an answer is expected to have before any was seen."""

GAIN = 1 / 16
"""Weight of the latest answer in what is expected of the next."""

CAUTION = 2
"""Deviations from the mean that are reckoned with."""


class Lengths:
    """Mean and deviation of answers' lengths, as TCP measures round trips (RFC 6298)."""

    def __init__(self) -> None:
        self._mean = float(TYPICAL)
        self._deviation = 0.0

    def learn(self, produced: int) -> None:
        """An answer ended with so many tokens."""
        error = produced - self._mean
        self._mean += GAIN * error
        self._deviation += GAIN * (abs(error) - self._deviation)

    def expected(self, most: int) -> float:
        """Tokens of an answer that may have ``most``."""
        return min(self._mean, most)

    def to_come(self, produced: int, most: int) -> int:
        """Tokens an answer will hardly exceed beyond the ``produced``; at least 1."""
        likely = min(self._mean + CAUTION * self._deviation, most)
        return max(round(likely) - produced, 1)


def peak_growth(answers: Iterable[tuple[int, int]]) -> int:
    """Cells that answers growing side by side need at most, beyond those they have.

    Args:
        answers: for each, tokens it will still grow by, and cells that it has and frees at its end.

    The peak comes just before one of them ends. Source: Gong et al., "Past-Future Scheduler for
    LLM Serving under SLA Guarantees" (2025).
    """
    waiting = sorted(answers)
    peak = freed = 0
    for ended, (growth, cells) in enumerate(waiting):
        peak = max(peak, (len(waiting) - ended) * growth - freed)
        freed += cells
    return peak
