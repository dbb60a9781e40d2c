"""How many prompt tokens one step may carry, from measured step times.

Pure arithmetic, driven by ``batching``. While others generate, a step with prompt tokens in it may
take at most ``STRETCH`` times a step without, which bounds the gap a running stream can feel, but
always ``UNNOTICED_NS``, because small chunks cost twice as much a token and nobody sees so short a
gap. Where more wait than run the bound grows with their number: one stream is not kept smooth at
the price of fifteen that cannot begin. While nobody generates, only the time until a newcomer can
join bounds a step.
"""

from __future__ import annotations

STRETCH = 2.5
"""Longest step with prompt tokens, in steps without."""
UNNOTICED_NS = 60_000_000
"""A gap of this length is no stall."""
BURST_NS = 125_000_000
"""Gap allowed for each one who waits, where more wait than run."""
IDLE_STEP_NS = 1_500_000_000
"""Longest prompt-only step."""
GRAIN = 16
"""Chunks are multiples of this, which suits the library's matrix tiles."""
FIRST_CHUNK = 64
"""Tokens beside running streams before anything was measured."""
_WEIGHT = 0.25


def _blend(old: float, new: float) -> float:
    return new if not old else old + _WEIGHT * (new - old)


class StepBudget:
    """Chooses the prompt tokens of the next step and learns from each step's duration.

    Args:
        mode: "auto", "off" (whole batches) or a fixed number of tokens.
        batch: tokens of one decode call at most.
        micro_batch: tokens of one graph execution; the first guess while nobody generates.
    """

    def __init__(self, mode: str, batch: int, micro_batch: int) -> None:
        self._fixed = int(mode) if mode.isdigit() else 0
        self._off = mode == "off"
        self._batch = batch
        self._micro_batch = micro_batch
        self._plain_ns: dict[int, float] = {}
        self._alone_ns = 0.0
        self._beside_ns = 0.0

    def choose(self, generating: int, waiting: int = 1) -> int:
        """Prompt tokens for a step that also generates for ``generating`` sequences.

        Args:
            waiting: sequences whose prompt is not computed yet.
        """
        room = self._batch - generating
        if self._off:
            return room
        if self._fixed:
            return min(self._fixed, room)
        tokens = self._beside(generating, waiting) if generating else self._alone()
        return min(room, max(GRAIN, tokens - tokens % GRAIN))

    def _alone(self) -> int:
        if not self._alone_ns:
            return self._micro_batch
        return max(self._micro_batch // 4, int(IDLE_STEP_NS / self._alone_ns))

    def _beside(self, generating: int, waiting: int) -> int:
        plain = self._plain(generating)
        token_ns = self._beside_ns or 2 * self._alone_ns
        if not plain or not token_ns:
            return FIRST_CHUNK
        allowed = max(STRETCH * plain, UNNOTICED_NS)
        if waiting > generating:
            allowed = max(allowed, min(BURST_NS * waiting / generating, plain + IDLE_STEP_NS))
        return int((allowed - plain) / token_ns)

    def _plain(self, generating: int) -> float:
        """Expected duration of a step without prompt tokens; 0 when none was seen."""
        size = generating.bit_length()
        known = min(self._plain_ns, key=lambda seen: abs(seen - size), default=size)
        return self._plain_ns.get(known, 0.0)

    def observe(self, generating: int, prompt_tokens: int, elapsed_ns: int) -> None:
        """Learn from a finished step."""
        if not prompt_tokens:
            size = generating.bit_length()
            self._plain_ns[size] = _blend(self._plain_ns.get(size, 0.0), elapsed_ns)
        elif not generating:
            self._alone_ns = _blend(self._alone_ns, elapsed_ns / prompt_tokens)
        else:
            least = elapsed_ns / (prompt_tokens + generating) / 2
            extra = (elapsed_ns - self._plain(generating)) / prompt_tokens
            self._beside_ns = _blend(self._beside_ns, max(least, extra))
