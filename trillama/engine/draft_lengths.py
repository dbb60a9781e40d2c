"""How many guessed tokens are worth computing: no more than pay for themselves. Pure.

A guess costs a row and brings a token only if it and all before it are right. So guesses are taken
in the order of that chance as long as each brings more tokens per nanosecond than the step does
without it. Where rows are dear (many answers on a processor) none is; where they cost next to
nothing (few answers, or a GPU that waits for its memory) many are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace

RIGHT, TRIED = 3.0, 4.0
"""What is known of guesses before any was checked."""
FADE = 0.8
"""Weight of earlier checks beside the next one."""
MOST_TRIED = 12.0
"""Weight of all of them: a copy that ends must be noticed within a few steps."""
RETURN = 1 / 64
"""How fast distrust is forgotten while no guess is tried."""
LEAST_GAIN = 1.05
"""A smaller promise is not worth the trouble of keeping it."""
LEARN = 0.2
CHEAPEST, DEAREST = 0.1, 10.0


@dataclass(slots=True)
class Trust:
    """How often the guesses for one answer are right."""

    right: float = RIGHT
    tried: float = TRIED

    @property
    def chance(self) -> float:
        """Of the next guess, if those before it were right."""
        return self.right / self.tried

    def learn(self, accepted: int, drafted: int) -> None:
        """Of ``drafted`` tokens the first ``accepted`` were right; what follows is not known."""
        self.right = FADE * self.right + accepted
        self.tried = FADE * self.tried + accepted + (accepted < drafted)
        excess = max(1.0, self.tried / MOST_TRIED)
        self.right /= excess
        self.tried /= excess

    def rest(self) -> None:
        """A guess was possible and not tried."""
        self.right += RETURN * (RIGHT - self.right)
        self.tried += RETURN * (TRIED - self.tried)


class RowPrice:
    """What a guessed row costs in truth, beside what the budget's model says of any row.

    Attributes:
        factor: by which the model's price is multiplied.
    """

    def __init__(self) -> None:
        self.factor = 1.0

    def learn(self, measured: float, predicted: float) -> None:
        """Guessed rows took ``measured`` nanoseconds where ``predicted`` were expected."""
        ratio = measured / max(predicted, 1.0)
        self.factor += LEARN * (min(max(ratio, CHEAPEST), DEAREST) - self.factor)

    def rest(self) -> None:
        """Nothing was guessed for being too dear; prices may have changed since."""
        self.factor += RETURN * (1.0 - self.factor)


def share_out(
    chances: Sequence[float],
    most: Sequence[int],
    sure: int,
    prices: tuple[float, float],
    room: int,
) -> list[int]:
    """How many guesses to compute for each answer.

    Args:
        chances: of the guesses for each answer, below 1.
        most: guesses there are for each.
        sure: tokens the step brings without any.
        prices: nanoseconds of the step without any, and of each guessed row.
        room: guessed rows that the step can have, for all answers together.
    """
    step, row = prices
    counts = [0] * len(chances)
    tokens, time = float(sure), step
    best = [(-chance, at) for at, chance in enumerate(chances) if most[at] > 0]
    heapify(best)
    while best and sum(counts) < room:
        negative, at = best[0]
        if -negative * time <= tokens * row:
            break
        counts[at] += 1
        tokens, time = tokens - negative, time + row
        if counts[at] < most[at]:
            heapreplace(best, (negative * chances[at], at))
        else:
            heappop(best)
    worth_it = tokens * step >= LEAST_GAIN * sure * time
    return counts if worth_it else [0] * len(chances)
