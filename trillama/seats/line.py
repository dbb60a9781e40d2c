"""Who waits, who is in the engine, and who has to step back.

A waiting seat is admitted when its tokens fit beside what the live ones still need. One that
would compute a prefix somebody else is computing waits for that instead. Under pressure the
youngest goes back to the head of the line with its tokens, and loses nothing but time.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from ..engine.prefix_tree import common_length
from ..kv import MIN_REUSE
from .memory import Memory
from .seat import Seat


class Line:
    """The waiting and the live seats of one engine.

    Args:
        memory: asked who fits.
        most: live seats at once.

    Attributes:
        preemptions: live seats sent back to make room.
    """

    def __init__(self, memory: Memory, most: int) -> None:
        self._memory = memory
        self._most = most
        self._waiting: deque[Seat] = deque()
        self.live: list[Seat] = []
        self.preemptions = 0

    @property
    def waiting(self) -> int:
        """How many seats wait."""
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Line {len(self.live)} live, {self.waiting} waiting>"

    def join(self, seat: Seat) -> None:
        """Let a new seat wait."""
        self._waiting.append(seat)

    def admit(self) -> list[tuple[Seat, int]]:
        """Make waiting seats live while there is room.

        Returns:
            those admitted, each with how many of its tokens were cached.
        """
        admitted: list[tuple[Seat, int]] = []
        for seat in list(self._waiting):
            if len(self.live) >= self._most:
                break
            if seat.paused or prefix_is_coming(seat, self.live, self._memory):
                continue
            cached = self._admit(seat)
            if cached is None:
                break
            admitted.append((seat, cached))
        return admitted

    def _admit(self, seat: Seat) -> int | None:
        """Give the seat a place, if need be one whose reader is slow has to leave."""
        while True:
            promised = sum(other.remaining for other in self.live) + len(self.live)
            cached = self._memory.admit(seat, promised)
            if cached is not None:
                self._waiting.remove(seat)
                self.live.append(seat)
                seat.awaits = None
                return cached
            paused = next((other for other in self.live if other.paused), None)
            if paused is None:
                return None
            self._preempt(paused)

    def preempt_youngest(self) -> bool:
        """Send the latest arrival back with its tokens, unless it is alone."""
        if len(self.live) < 2:
            return False
        self._preempt(max(self.live, key=lambda seat: (seat.paused, seat.admitted_step)))
        return True

    def _preempt(self, seat: Seat) -> None:
        self.preemptions += 1
        self.requeue(seat, seat.tokens())

    def requeue(self, seat: Seat, known: npt.NDArray[np.int32]) -> None:
        """Send a live seat back to the head of the line, to compute ``known`` first."""
        self._vacate(seat)
        seat.known, seat.fresh = known, []
        self._waiting.appendleft(seat)

    def leave(self, seat: Seat) -> None:
        """Forget a seat; its tokens may stay cached."""
        if seat.sequence is None:
            self._waiting.remove(seat)
        else:
            self._vacate(seat)

    def _vacate(self, seat: Seat) -> None:
        self.live.remove(seat)
        self._memory.release(seat)


def prefix_is_coming(seat: Seat, live: list[Seat], memory: Memory) -> bool:
    """Whether a job in prefill is about to compute what this one would compute again."""
    if seat.awaits is None and memory.reuse:
        seat.awaits = coming_prefix(seat, live, memory.match(seat))
    if seat.awaits is not None:
        other, length = seat.awaits
        if other.sequence is None or other.paused or other.place.length >= length:
            seat.awaits = None
    return seat.awaits is not None


def coming_prefix(seat: Seat, live: list[Seat], cached: int) -> tuple[Seat, int] | None:
    """A prefilling seat about to compute a longer part of our prompt than is cached now.

    Returns:
        that seat and the length of the common prefix; waiting for it costs less than computing
        the same tokens twice.
    """
    for other in live:
        if other.remaining and other.job.cache_key == seat.job.cache_key:
            same = common_length(seat.known[:-1], other.known)
            if same >= max(cached, other.place.length) + MIN_REUSE:
                return other, same
    return None
