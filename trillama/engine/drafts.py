"""Guesses at what an answer says next, taken from what was said before (prompt lookup).

Pure numpy, used by ``seats.speculation``. Answers that edit, quote or summarise repeat runs of
their own prompt. Where the latest tokens have occurred before, what followed them then is proposed;
the engine computes it beside the one row it computes anyhow, and keeps what turns out right.

Source of the method: Saxena, "Prompt Lookup Decoding" (2023); Leviathan et al., "Fast Inference
from Transformers via Speculative Decoding" (2023) for why checking changes no answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]

LEAST_MATCH = 3
"""Latest tokens that must have occurred before: two are a coincidence too often."""
MOST_MATCH = 16
"""Earlier places are compared by so many tokens; longer matches are as good."""
SEARCHED = 32_768
"""Latest tokens that are looked through, some 30 microseconds' worth."""


class PromptLookup:
    """The tokens of one answer and its prompt, and what followed in like places.

    Args:
        expected: tokens that somebody expects in the answer; they count as said before all else.
    """

    __slots__ = ("_count", "_expected", "_known", "_seen", "_tokens")

    def __init__(self, expected: Tokens | None = None) -> None:
        self._expected = np.empty(0, np.int32) if expected is None else expected
        self._known: Tokens | None = None
        self._tokens: Tokens = np.empty(0, np.int32)
        self._count = self._seen = 0

    def follow(self, known: Tokens, fresh: Sequence[int]) -> None:
        """Take in what has come since the last call.

        Args:
            known: the prompt; another array means that everything begins anew.
            fresh: what was generated after it.
        """
        if known is not self._known or len(fresh) < self._seen:
            self._known, self._seen = known, 0
            room = np.empty(len(known) + 256, np.int32)
            self._tokens = np.concatenate((self._expected, known, room))
            self._count = len(self._expected) + len(known)
        new = fresh[self._seen :]
        end = self._count + len(new)
        if end > len(self._tokens):
            self._tokens = np.concatenate((self._tokens, np.empty(end, np.int32)))
        self._tokens[self._count : end] = new
        self._count, self._seen = end, len(fresh)

    @property
    def tokens(self) -> Tokens:
        """Those of prompt and answer, int32, shape (n,); valid until the next ``follow``."""
        return self._tokens[len(self._expected) : self._count]

    def propose(self, most: int) -> list[int]:
        """What may come next, at most so many tokens; empty where nothing is like this place."""
        tokens = self._tokens[max(0, self._count - SEARCHED) : self._count]
        return continuation(tokens, most) if most > 0 else []


def continuation(tokens: Tokens, most: int) -> list[int]:
    """What followed the place that is most like the end of ``tokens``, the latest one of several.

    Args:
        tokens: int32, shape (n,), the newest last.
        most: tokens to give at most.
    """
    last = len(tokens) - 1
    if last < LEAST_MATCH:
        return []
    # Places: where an earlier run ends that agrees with the end of all tokens.
    (places,) = (tokens[LEAST_MATCH - 1 : last] == tokens[last]).nonzero()
    if not places.size:
        return []
    places += LEAST_MATCH - 1
    for back in range(1, min(MOST_MATCH, last)):
        alike = places[places >= back]
        alike = alike[tokens[alike - back] == tokens[last - back]]
        if not alike.size:
            break
        places = alike
    else:
        back = MOST_MATCH
    if back < LEAST_MATCH:
        return []
    start = int(places[-1]) + 1
    found: list[int] = tokens[start : start + most].tolist()
    return found
