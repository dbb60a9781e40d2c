"""How many prompt tokens one step may carry, from measured step times.

Pure arithmetic, driven by ``batching``. While others generate, a step with prompt tokens in it may
take at most ``STRETCH`` times a step without: that bounds the gap a running stream can feel. While
nobody generates, only the time until a new request can join bounds a step.
"""

from __future__ import annotations

STRETCH = 2.0
"""Longest step with prompt tokens, in steps without."""
IDLE_STEP_NS = 1_000_000_000
"""Longest prompt-only step: what a newcomer may have to wait."""
GRAIN = 16
"""Chunks are multiples of this, which suits the library's matrix tiles."""
_WEIGHT = 0.25


def _blend(old: float, new: float) -> float:
    return new if not old else old + _WEIGHT * (new - old)


class StepBudget:
    """Chooses the prompt tokens of the next step and learns from each step's duration.

    Args:
        mode: "auto", "off" (whole batches) or a fixed number of tokens.
        batch: tokens of one decode call at most.
        micro_batch: tokens of one graph execution; the first guess before anything is measured.
    """

    def __init__(self, mode: str, batch: int, micro_batch: int) -> None:
        self._fixed = int(mode) if mode.isdigit() else 0
        self._off = mode == "off"
        self._batch = batch
        self._micro_batch = micro_batch
        self._base_ns = 0.0
        self._token_ns = 0.0

    def choose(self, generating: int) -> int:
        """Prompt tokens for a step that also generates for ``generating`` sequences."""
        room = self._batch - generating
        if self._off:
            return room
        if self._fixed:
            return min(self._fixed, room)
        if not self._token_ns:
            return min(room, self._micro_batch if not generating else 4 * GRAIN)
        if not generating:
            tokens = max(self._micro_batch // 4, int(IDLE_STEP_NS / self._token_ns))
        else:
            tokens = int((STRETCH - 1) * self._step_ns(generating) / self._token_ns)
        return min(room, max(GRAIN, tokens - tokens % GRAIN))

    def _step_ns(self, generating: int) -> float:
        """Expected duration of a step without prompt tokens."""
        return self._base_ns or self._token_ns * generating

    def observe(self, generating: int, prompt_tokens: int, elapsed_ns: int) -> None:
        """Learn from a finished step."""
        if not prompt_tokens:
            self._base_ns = _blend(self._base_ns, elapsed_ns)
        elif not generating:
            self._token_ns = _blend(self._token_ns, elapsed_ns / prompt_tokens)
        else:
            extra = elapsed_ns - self._step_ns(generating)
            floor = elapsed_ns / (prompt_tokens + generating) / 4
            self._token_ns = _blend(self._token_ns, max(floor, extra / prompt_tokens))
