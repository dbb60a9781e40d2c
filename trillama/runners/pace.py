"""How fast a queue moves, and so when it is worth coming back."""

from __future__ import annotations

import math
from collections import deque

REMEMBERED = 64
LONGEST = 60


class Pace:
    """Times at which something was served; the last few count."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=REMEMBERED)

    def begin(self, now: float) -> None:
        """There is work again: the time without any says nothing of the rate."""
        if self._times:
            idle = now - self._times[-1]
            self._times = deque((time + idle for time in self._times), maxlen=REMEMBERED)

    def tick(self, now: float) -> None:
        """One was served, at ``now`` seconds of any one clock."""
        self._times.append(now)

    def per_second(self, now: float) -> float:
        """Measured rate; 0 when nothing was measured yet."""
        if not self._times:
            return 0.0
        return len(self._times) / max(now - self._times[0], 1e-3)

    def retry_after(self, waiting: int, now: float) -> int:
        """Whole seconds, 1 to 60, after which ``waiting`` others are likely gone."""
        rate = self.per_second(now)
        if not rate:
            return 1
        return min(max(math.ceil(waiting / rate), 1), LONGEST)
