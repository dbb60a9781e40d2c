"""Who waits, who is in the engine, and who has to step back.

Newcomers wait in a fair queue: clients share the engine by tokens of work, whatever they ask for at
once. The next one is admitted when its tokens fit beside what the live ones still need; a large one
is never overtaken for its size. One that would compute a prefix somebody else is computing waits
for that instead. Under pressure the youngest goes back to the head of the line with its tokens, and
loses nothing but time.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from ..engine.prefix_tree import common_length
from ..kv import MIN_REUSE
from .fair_queue import FairQueue
from .lengths import Lengths, peak_growth
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
        self._waiting: FairQueue[Seat] = FairQueue()
        self._returned: deque[Seat] = deque()
        self._lengths = Lengths()
        self.live: list[Seat] = []
        self.preemptions = 0

    @property
    def waiting(self) -> int:
        """How many seats wait."""
        return len(self._returned) + len(self._waiting)

    def order(self) -> list[Seat]:
        """Those who wait, the next one first."""
        return [*self._returned, *self._waiting]

    def __repr__(self) -> str:
        return f"<Line {len(self.live)} live, {self.waiting} waiting>"

    def join(self, seat: Seat) -> None:
        """Let a new seat wait."""
        job = seat.job
        cost = len(job.prompt) + self._lengths.expected(seat.most)
        self._waiting.put(seat, (job.client, job.priority), cost, job.priority.weight)

    def admit(self) -> list[tuple[Seat, int]]:
        """Make waiting seats live while there is room.

        Returns:
            those admitted, each with how many of its tokens were cached.
        """
        admitted: list[tuple[Seat, int]] = []
        if len(self.live) >= self._most:
            return admitted
        for seat in self.order():
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
            cached = self._memory.admit(seat, self._promised(seat))
            if cached is not None:
                self._enter(seat, cached)
                return cached
            paused = next((other for other in self.live if other.paused), None)
            if paused is None:
                return None
            self._preempt(paused)

    def _promised(self, seat: Seat) -> int:
        """Cells that must be free beside ``seat``'s tokens, so that nobody has to step back."""
        if not self.live:
            return 0
        prompts = sum(other.remaining for other in self.live)
        answers = [
            (self._lengths.to_come(one.produced, one.most), one.work) for one in (*self.live, seat)
        ]
        return prompts + max(peak_growth(answers), len(self.live))

    def _enter(self, seat: Seat, cached: int) -> None:
        if seat in self._returned:
            self._returned.remove(seat)
        else:
            self._waiting.take(seat)
            seat.cached = cached
        self.live.append(seat)
        seat.awaits = None

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
        self._returned.appendleft(seat)

    def leave(self, seat: Seat) -> None:
        """Forget a seat; its tokens may stay cached."""
        if seat.sequence is not None:
            self._vacate(seat)
        elif seat in self._returned:
            self._returned.remove(seat)
        else:
            self._waiting.drop(seat)
            return
        self._lengths.learn(seat.produced)
        self._waiting.settle(seat, seat.work)

    def _vacate(self, seat: Seat) -> None:
        self.live.remove(seat)
        self._memory.release(seat)


def prefix_is_coming(seat: Seat, live: list[Seat], memory: Memory) -> bool:
    """Whether a job in prefill is about to compute what this one would compute again."""
    if seat.awaits is None and memory.reuse:
        seat.awaits = coming_prefix(seat, live, memory.match(seat))
        if seat.awaits is not None:
            memory.fork(*seat.awaits)
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
        if other.remaining and other.job.prefix_key == seat.job.prefix_key:
            same = common_length(seat.known[:-1], other.known)
            if same >= max(cached, other.place.length) + MIN_REUSE:
                return other, same
    return None
