"""Several packs of texts computed at once: one context with all threads, and lanes of one thread.

The threads of one call meet at a barrier after every operation, and an operation of a small model
takes microseconds. Where inputs for many calls wait, threads that compute a pack each do more: on
two cores 1.4 times as much with MiniLM. One pack alone is faster with all threads, and so is
everything where a pack takes long: a newcomer waits for the packs that are being computed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ..base.errors import EngineError, ModelLoadError
from ..engine.embedding import EmbeddingContext, EmbeddingLimits, EmbeddingParams, Tokens, Vectors

PATIENCE = 0.1
"""Seconds a full pack may take on one thread for lanes to be used."""

Pack = Sequence[Tokens]
Outcome = Vectors | EngineError | ModelLoadError
Open = Callable[[EmbeddingParams], EmbeddingContext]


class Lanes:
    """The contexts of one model; all but the calls that it hands out itself runs on one thread.

    Args:
        open_context: makes a context.
        params: how the one with all threads is to be.
        clock: seconds.

    Raises:
        TrillamaError: the model cannot embed, or the library refused.

    Attributes:
        limits: of the context with all threads.
    """

    def __init__(
        self,
        open_context: Open,
        params: EmbeddingParams,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._open = open_context
        self._clock = clock
        self._wide = open_context(params)
        self.limits: EmbeddingLimits = self._wide.limits
        self._params = dataclasses.replace(params, threads=1, longest=self.limits.pack)
        self._most = self.limits.cores
        self._narrow: list[EmbeddingContext] = []
        self._helpers: ThreadPoolExecutor | None = None
        self._seconds = PATIENCE
        """Of one thread for a full pack: at first nobody knows."""

    @property
    def wanted(self) -> int:
        """How many packs to bring next."""
        return self._most if self._seconds < PATIENCE else 1

    def compute(self, packs: Sequence[Pack]) -> list[Outcome]:
        """Rows of each pack, or what was wrong with it.

        Args:
            packs: at least one, each within the limits.
        """
        crowded = 1 < len(packs) <= self._most < 2 * len(packs)
        if crowded and max(map(_tokens, packs)) <= self.limits.pack and self._widen(len(packs)):
            return self._side_by_side(packs)
        return [self._with_all_threads(pack) for pack in packs]

    def _with_all_threads(self, pack: Pack) -> Outcome:
        begun = self._clock()
        rows = _rows(self._wide, pack)
        self._learn(pack, self.limits.cores * (self._clock() - begun))
        return rows

    def _side_by_side(self, packs: Sequence[Pack]) -> list[Outcome]:
        assert self._helpers is not None
        begun = self._clock()
        pairs = zip(self._narrow[1:], packs[1:], strict=False)
        others = [self._helpers.submit(_rows, lane, pack) for lane, pack in pairs]
        found = [_rows(self._narrow[0], packs[0]), *(other.result() for other in others)]
        self._learn(max(packs, key=_tokens), self._clock() - begun)
        return found

    def _widen(self, lanes: int) -> bool:
        """Whether there are so many lanes, now or already."""
        if self._helpers is None:
            self._helpers = ThreadPoolExecutor(self.limits.cores - 1, "embedding")
        try:
            while len(self._narrow) < lanes:
                self._narrow.append(self._open(self._params))
        except ModelLoadError:  # memory is short; there is a context
            self._most = 1
            return False
        return True

    def _learn(self, pack: Pack, seconds: float) -> None:
        tokens = _tokens(pack)
        if 2 * tokens >= self.limits.pack:
            self._seconds = seconds * self.limits.pack / tokens

    def close(self) -> None:
        """Free the contexts; doing it twice is harmless."""
        if self._helpers:
            self._helpers.shutdown()
        for context in (self._wide, *self._narrow):
            context.close()


def _tokens(pack: Pack) -> int:
    return sum(map(len, pack))


def _rows(context: EmbeddingContext, pack: Pack) -> Outcome:
    try:
        return context.embed(pack)
    except EngineError as error:
        return error
