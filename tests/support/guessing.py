"""In place of ``share_out``, where a test wants guesses whatever rows cost."""

from __future__ import annotations

from collections.abc import Sequence


def every_guess(
    chances: Sequence[float],
    most: Sequence[int],
    sure: int,
    prices: tuple[float, float],
    room: int,
) -> list[int]:
    """All there are, as far as there is room."""
    counts = []
    for count in most:
        counts.append(min(count, room))
        room -= counts[-1]
    return counts
