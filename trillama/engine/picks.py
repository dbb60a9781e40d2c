"""Tokens of a step in which some rows were computed on a guess.

Used by ``batching``. Rows of an answer whose sampling remembers nothing are chosen together with
everybody's, guessed ones too; random numbers they drew in vain are taken back, so that an answer
draws the same ones as without guesses. Where a token changes how the next is chosen (penalties, a
grammar, a chain of the library's) a row is looked at only when its turn has come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from trillama.base.events import TokenScores

from .choose import Chooser, Row

R = TypeVar("R", bound=Row)


class Picks(Generic[R]):
    """What is sampled from the rows of one step.

    Args:
        chooser: chooses.
        logits: shape (rows, n_vocab), overwritten where penalties apply.
        owners: whose rows they are, in order; each has one, and one for each guess of its draft.
        drafts: guesses of some of them.
    """

    def __init__(
        self,
        chooser: Chooser,
        logits: npt.NDArray[np.float32],
        owners: Sequence[R],
        drafts: Mapping[R, list[int]],
    ) -> None:
        self._chooser = chooser
        self._logits = logits
        self._first: dict[R, int] = {}
        self._chosen: dict[int, tuple[int, TokenScores | None]] = {}
        self._together: dict[R, int] = {}
        rows: list[int] = []
        whose: list[R] = []
        begin = 0
        for owner in owners:
            count = 1 + len(drafts.get(owner, ()))
            ahead = count if _steady(owner) else 1
            self._first[owner], self._together[owner] = begin, ahead
            rows += range(begin, begin + ahead)
            whose += [owner] * ahead
            begin += count
        self._choose(rows if len(rows) < begin else None, whose)

    def _choose(self, rows: list[int] | None, whose: Sequence[R]) -> None:
        """Choose from some rows, None for all."""
        logits = self._logits if rows is None else self._logits[rows]
        tokens, scores = self._chooser.choose(logits, whose)
        places = range(len(tokens)) if rows is None else rows
        for at, (place, token) in enumerate(zip(places, tokens, strict=True)):
            self._chosen[place] = token, scores.get(at)

    def pick(self, owner: R, row: int) -> tuple[int, TokenScores | None]:
        """The token of an owner's row, counted from its first; -1 where it is not usable."""
        place = self._first[owner] + row
        if place not in self._chosen:
            self._choose([place], [owner])
        return self._chosen[place]

    def used(self, owner: R, count: int) -> None:
        """Of an owner's rows the first ``count`` were of use."""
        owner.sampler.take_back(max(0, self._together[owner] - count))


def _steady(row: Row) -> bool:
    """Whether a token does not change how the next one is chosen."""
    return row.job.guide is None and row.chain is None and row.sampler.recent is None
