"""Whose turn it is where live jobs want different LoRA adapters.

All rows of a decode are computed with one set. Another one makes the library lay out its graph
again, which may cost more than a step; so a set keeps the engine until its steps have taken several
times as long as the first of them, which paid for the change. Then comes the set that has waited
longest.
"""

from __future__ import annotations

from ..base.adapters import Adapters
from ..base.durations import SECOND
from .seat import Seat

PAYS = 5
"""A turn lasts so many times its first step: a change costs at most a fifth of the time."""

LONGEST = SECOND
"""Nanoseconds after which a turn is over in any case."""


class Rota:
    """Turns of the sets of adapters.

    Attributes:
        current: the set whose turn it is.
        changes: how often it was another's turn.
    """

    def __init__(self) -> None:
        self.current: Adapters = ()
        self.changes = 0
        self._first = self._spent = 0
        self._left: dict[Adapters, int] = {}  # sets that wait, and when their last turn ended

    def choose(self, seats: list[Seat]) -> list[Seat]:
        """Those of ``seats``, all of which have something to compute, whose turn it is."""
        others = [seat for seat in seats if seat.job.adapters != self.current]
        if not others:
            return seats
        over = self._spent >= min(PAYS * self._first, LONGEST)
        if over or len(others) == len(seats):
            self._change(dict.fromkeys(seat.job.adapters for seat in others))
        return [seat for seat in seats if seat.job.adapters == self.current]

    def _change(self, waiting: dict[Adapters, None]) -> None:
        self.changes += 1
        self._left[self.current] = self.changes
        self.current = min(waiting, key=lambda one: self._left.get(one, 0))
        self._left = {one: at for one, at in self._left.items() if at > self.changes - 256}
        self._first = self._spent = 0

    def spend(self, elapsed: int) -> bool:
        """Note what a step took, in nanoseconds.

        Returns:
            whether it may have paid for a change.
        """
        began = not self._first
        self._first = self._first or elapsed
        self._spent += elapsed
        return began
