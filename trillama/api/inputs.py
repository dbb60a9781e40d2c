"""From texts to tokens that a model can embed: counted, and cut where that is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..base.embeddings import Input
from ..base.errors import BadRequest
from ..base.options import Options
from ..engine.base import Vocabulary
from ..runner_pool import Runner

Tokens = npt.NDArray[np.int32]


class InputTooLong(BadRequest):
    """An input needs more positions than the model has, and may not be cut."""

    code = "context_length_exceeded"

    def __init__(self, index: int, tokens: int, limit: int) -> None:
        super().__init__(
            f"the input length exceeds the context length: input {index} has {tokens} tokens, "
            f"the model takes {limit}"
        )


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the engine is given; ``dropped`` tokens were cut."""

    tokens: list[Tokens]
    dropped: int

    @property
    def count(self) -> int:
        """Tokens of all of them."""
        return sum(map(len, self.tokens))


def longest_input(runner: Runner, options: Options) -> int:
    """Positions of one input: the training, the pool and ``num_ctx``, whichever is least."""
    bounds = (runner.facts.train_context, runner.spec.context.cells, options.num_ctx)
    return min(bound for bound in bounds if bound > 0)


class Fitter:
    """Makes inputs fit.

    Args:
        limit: tokens of one input.
        truncate: cut what is longer; otherwise it is an error.
    """

    def __init__(self, vocabulary: Vocabulary, ends: Tokens, limit: int, truncate: bool) -> None:
        """``ends`` are the tokens of the empty text: what stands around every text."""
        self._vocabulary = vocabulary
        self._ends = ends
        self._limit = limit
        self._truncate = truncate
        self.dropped = 0

    def fit(self, index: int, tokens: Tokens, *, keep_end: bool = True) -> Tokens:
        """``tokens`` within the limit, what stands behind the text kept.

        Raises:
            InputTooLong: they may not be cut.
            BadRequest: the limit leaves no room for text.
        """
        if not len(tokens):
            return self._nothing()
        over = len(tokens) - self._limit
        if over <= 0:
            return tokens
        if not self._truncate:
            raise InputTooLong(index, len(tokens), self._limit)
        if self._limit <= len(self._ends):
            raise BadRequest("input after truncation exceeds maximum context length")
        self.dropped += over
        tail = self._tail(tokens) if keep_end else 0
        return np.concatenate((tokens[: self._limit - tail], tokens[len(tokens) - tail :]))

    def _tail(self, tokens: Tokens) -> int:
        """How many of the ends stand behind the text."""
        before = 0
        while before < len(self._ends) and tokens[before] == self._ends[before]:
            before += 1
        return len(self._ends) - before

    def _nothing(self) -> Tokens:
        """An empty text has a vector too, where the model puts nothing around texts."""
        known = (self._vocabulary.eos, self._vocabulary.bos, 0)
        return np.array([next(token for token in known if token >= 0)], np.int32)


async def read_inputs(
    runner: Runner, inputs: Sequence[Input], options: Options, *, truncate: bool
) -> Inputs:
    """Tokens of each input, as the model takes them.

    Raises:
        InputTooLong: one is too long and may not be cut; the message names it.
        BadRequest: a token the model does not have, or no room at all.
    """
    texts = [item for item in inputs if isinstance(item, str)]
    ends, *found = await runner.tokenize_many(["", *texts])
    fitter = Fitter(runner.vocabulary, ends, longest_input(runner, options), truncate)
    tokenized = iter(found)
    tokens: list[Tokens] = []
    for index, item in enumerate(inputs):
        if isinstance(item, str):
            tokens.append(fitter.fit(index, next(tokenized)))
        else:
            given = _checked(index, item, runner.vocabulary.size)
            tokens.append(fitter.fit(index, given, keep_end=False))
    return Inputs(tokens, fitter.dropped)


def _checked(index: int, tokens: Sequence[int], size: int) -> Tokens:
    if min(tokens) < 0 or max(tokens) >= size:
        raise BadRequest(f"input {index} holds a token outside 0..{size - 1}")
    return np.array(tokens, np.int32)
