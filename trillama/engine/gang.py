"""Waiting a moment for requests that are sure to come together.

Pure, used by ``batching``. Clients that were answered together ask again together, a few
milliseconds apart. Prompts computed in one batch cost less than one after the other, and answers
begun in step stay in step, so an engine with nothing else to do waits for as many newcomers as just
left. A lone client is never waited for by anybody: the first arrival is as many as left.
"""

from __future__ import annotations

TOGETHER_NS = 100_000_000
"""Answers that ended within this of each other ended together."""
MEMORY_NS = 300_000_000
"""After this nobody is expected back any more."""
PATIENCE_NS = 40_000_000
"""Longest wait, from the first arrival."""


class Gang:
    """How many are expected back, and how long to wait for them; times in nanoseconds."""

    def __init__(self) -> None:
        self._left = 0
        self._last_left = -MEMORY_NS
        self._expected = 0
        self._first_came = 0

    def left(self, now: int) -> None:
        """An answer ended by itself."""
        if now - self._last_left > TOGETHER_NS:
            self._left = 0
        self._left += 1
        self._last_left = now

    def came(self, now: int, waiting: int) -> None:
        """A job arrived; ``waiting`` counts it. The first one tells how many should follow."""
        if waiting == 1:
            self._first_came = now
            self._expected = self._left if now - self._last_left <= MEMORY_NS else 0
            self._left = 0

    def linger(self, now: int, waiting: int) -> int:
        """How long an engine without running jobs should wait for more; 0 means begin."""
        if not 0 < waiting < self._expected:
            return 0
        return max(0, self._first_came + PATIENCE_NS - now)
