"""Waiting a moment for requests that are sure to come together.

Pure, used by ``batching``. Clients that were answered together ask again together, a few
milliseconds apart. Prompts computed in one batch cost less than one after the other, and answers
begun in step stay in step, so an engine with nothing else to do waits for as many newcomers as just
left. A lone client is never waited for by anybody: the first arrival is as many as left.

Where nobody left, whose prompts are being made ready tells of a crowd: the first of it would begin
alone and then be stalled by the prompts of the others. It waits for them in proportion to what the
prompts that are there will take anyhow.
"""

from __future__ import annotations

TOGETHER_NS = 100_000_000
"""Answers that ended within this of each other ended together."""
MEMORY_NS = 300_000_000
"""After this nobody is expected back any more."""
PATIENCE_NS = 40_000_000
"""Longest wait, from the first arrival."""
SLOW_PATIENCE_NS = 250_000_000
"""The same where prompts take seconds."""
TOKEN_NS, TOKEN_SHARE = 50_000, 8
"""Of waiting for those who are nearly here, for each prompt token that is here; or one in so many
parts of what it takes to compute, where that is more."""


class Gang:
    """How many are expected back, and how long to wait for them; times in nanoseconds."""

    def __init__(self) -> None:
        self._left = 0
        self._last_left = -MEMORY_NS
        self._expected = 0
        self._first_came = 0
        self._tokens = 0

    def left(self, now: int) -> None:
        """An answer ended by itself."""
        if now - self._last_left > TOGETHER_NS:
            self._left = 0
        self._left += 1
        self._last_left = now

    def came(self, now: int, waiting: int, tokens: int) -> None:
        """A job with so many tokens arrived; ``waiting`` counts it, the first one tells how many
        should follow."""
        if waiting == 1:
            self._first_came, self._tokens = now, 0
            self._expected = self._left if now - self._last_left <= MEMORY_NS else 0
            self._left = 0
        self._tokens += tokens

    def linger(self, now: int, waiting: int, coming: int = 0, token_ns: float = 0.0) -> int:
        """How long an engine without running jobs should wait for more; 0 means begin.

        Args:
            coming: jobs whose prompts are being made ready.
            token_ns: what a prompt's token takes.
        """
        if not waiting:
            return 0
        patience = PATIENCE_NS if waiting < self._expected else 0
        if coming:
            quick, slow = self._tokens * TOKEN_NS, int(self._tokens * token_ns / TOKEN_SHARE)
            patience = max(patience, min(PATIENCE_NS, quick), min(SLOW_PATIENCE_NS, slow))
        return max(0, self._first_came + patience - now)
