"""One answer's place in its grammar; see ``base.jobs.Guide``.

Used by one thread at a time: the engine thread, or the one that computes masks beside a decode.
Nothing here raises for what a grammar or a model does: trouble shows in ``failure``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher

from trillama.base.jobs import Mask

WARY = 4
"""Tokens after a refusal for which masks are computed ahead."""


class Thought:
    """Follows reasoning by the bytes of its tokens, to know when it is over.

    Args:
        open_tag: awaited at the very beginning; "" where the prompt has opened the reasoning.
        closing: the tokens of the closing tag, to end it with.
    """

    def __init__(self, open_tag: bytes, close_tag: bytes, closing: list[int]) -> None:
        self.closing = closing
        self._open, self._close = open_tag, close_tag
        self._seen = b""

    @property
    def inside(self) -> bool:
        """Whether what comes is reasoning."""
        return not self._open

    def push(self, piece: bytes) -> bool:
        """Take the bytes of a token; whether there is still something to follow."""
        self._seen += piece
        if self._open:
            begun = self._seen.lstrip()
            if not begun.startswith(self._open):
                return self._open.startswith(begun)
            self._seen, self._open = begun[len(self._open) :], b""
        if self._close in self._seen:
            return False
        self._seen = self._seen[-len(self._close) :]
        return True


class Matcher:
    """Says which token may come next, and takes the one that comes.

    Args:
        matcher: at the beginning of its grammar; it belongs to this answer.
        spelled: bytes of a token, control tokens spelled out.
        thought: reasoning that may come first.
        patient: take every token one by one, so that each is sampled: nothing is ``forced``.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        spelled: list[bytes],
        is_eog: npt.NDArray[np.bool_],
        thought: Thought | None = None,
        *,
        patient: bool = False,
    ) -> None:
        self._matcher = matcher
        self._spelled = spelled
        self._is_eog = is_eog
        self._thought = thought
        self._patient = patient
        self._taken: list[int] = []
        self._mask: Mask | None = None
        self._caution = WARY

    @property
    def wary(self) -> bool:
        """Whether a refusal is likely, so that the mask is worth computing ahead."""
        return self._caution > 0

    @property
    def done(self) -> bool:
        """Whether the answer is complete and nothing may follow."""
        matcher = self._matcher
        return not self._taken and matcher.is_stopped() and not matcher.is_error()

    @property
    def failure(self) -> str:
        """What is wrong with the grammar, "" if nothing."""
        return str(self._matcher.get_error()).split("\n", 1)[0]

    def take(self, token: int) -> int:
        """Go on by ``token``; -1, and nothing has changed, if it may not come here.

        Returns:
            the token to go on with: another one where the model would end inside its reasoning.
        """
        if self._taken:  # more was forced than one step had room for
            return self._taken.pop(0)
        if self._matcher.try_consume_tokens([token]) != 1:
            self._caution = WARY
            return self._end_thought() if self._is_eog[token] else -1
        self._caution -= self._caution > 0
        self._went_on([token])
        return token

    def _went_on(self, tokens: list[int]) -> None:
        self._mask = None
        if self._thought and not self._thought.push(b"".join(self._spelled[t] for t in tokens)):
            self._thought = None

    def _end_thought(self) -> int:
        """Close the reasoning that a model would not; -1 where there is none."""
        thought = self._thought
        if self._patient or thought is None or not thought.inside or not thought.closing:
            return -1
        count = self._matcher.try_consume_tokens(thought.closing)
        if count != len(thought.closing):
            self._matcher.rollback(count)
            return -1
        self._thought, self._mask = None, None
        first, *self._taken = thought.closing
        return first

    def forced(self, most: int) -> list[int]:
        """Tokens that must come next, at most so many; they count as taken."""
        taken, self._taken = self._taken[:most], self._taken[most:]
        if self._taken or self._patient or len(taken) >= most:
            return taken
        more: list[int] = self._matcher.compute_ff_tokens()[: most - len(taken)]
        if more:
            more = more[: self._matcher.try_consume_tokens(more)]
            self._went_on(more)
        return taken + more

    def mask(self) -> Mask:
        """The tokens that may come next, a bit each; computed once for each place."""
        if self._mask is None:
            self._mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint32)
        return self._mask
