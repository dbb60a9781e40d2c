"""What tokens are chosen from: ranks where a context has them and they are enough, else whole rows.

Used by ``batching``. Ranks are enough for jobs that draw among a few best and look at nothing else
of a row; one job that does, and all rows of its step are looked at whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .base import RANKS, Context, Ranked
from .choose import Row

Rows: TypeAlias = npt.NDArray[np.float32] | Ranked
"""Whole rows of logits, shape (rows, n_vocab), or the best of each."""


def ranks_do(row: Row) -> bool:
    """Whether a token can be drawn from a row's ranks alone."""
    sampler, job = row.sampler, row.job
    plain = row.chain is None and sampler.bias is None and sampler.recent is None
    return plain and job.guide is None and job.logprobs is None and 1 <= sampler.top_k <= RANKS


class Outcome:
    """What the decodes of one context have to show."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._able = context.limits.ranks
        self._whose: list[Row] = []
        self._enough = True

    def rows(self, whose: Sequence[Row], *, guessed: bool) -> Rows:
        """The rows of the last decode, once it is done.

        Args:
            whose: the owners of the rows.
            guessed: whether some have more than one.
        """
        ranked = self._context.ranked() if self._able and not guessed and self._do(whose) else None
        return self._context.logits() if ranked is None else ranked

    def _do(self, whose: Sequence[Row]) -> bool:
        if whose != self._whose:
            self._whose, self._enough = list(whose), all(map(ranks_do, whose))
        return self._enough
