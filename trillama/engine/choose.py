"""From logits to tokens for all rows of a step, whatever sampler each row has.

Owned by ``batching``, which calls it once a step. Rows with numpy samplers are chosen together, in
parts on several threads where those are free: numpy releases the GIL over large arrays. Rows with
a library chain run beside each other on the same threads, since a chain releases it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from trillama.base.errors import EngineError
from trillama.base.events import TokenScores
from trillama.base.jobs import Job

from .base import Chain
from .sampling import RowSampler, sample_rows
from .scores import token_scores

WORTH_A_THREAD = 1 << 20
"""Logits that take longer to look at than another thread takes to start on them."""


class Row(Protocol):
    """What decides a row's token.

    Attributes:
        chain: used instead of ``sampler`` where there is one.
    """

    job: Job
    sampler: RowSampler
    chain: Chain | None


def _pick(chain: Chain, row: npt.NDArray[np.float32]) -> int:
    try:
        return chain.pick(row)
    except EngineError:
        return -1


class Choice(NamedTuple):
    """Tokens of a step, one a row; -1 where a row gave no usable probabilities.

    Attributes:
        scores: by row, for the rows that wanted them.
    """

    tokens: list[int]
    scores: dict[int, TokenScores]


def parts(shape: tuple[int, ...], threads: int) -> list[slice]:
    """Cut rows into one slice for each thread that is worth waking; at least one slice.

    Args:
        shape: of the logits, (rows, n_vocab).
    """
    rows, n_vocab = shape
    count = max(1, min(threads, rows, rows * n_vocab // WORTH_A_THREAD))
    bounds = [rows * part // count for part in range(count + 1)]
    return [slice(begin, end) for begin, end in pairwise(bounds)]


class Chooser:
    """Chooses tokens, and owns the threads this may take; they start when first needed.

    Args:
        threads: how many may look at logits at once.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(max(2, threads), thread_name_prefix="sampling")

    def choose(self, logits: npt.NDArray[np.float32], rows: Sequence[Row]) -> Choice:
        """One token for each row.

        Args:
            logits: shape (rows, n_vocab); overwritten where penalties apply.
        """
        raw = {at: logits[at].copy() for at, row in enumerate(rows) if row.job.logprobs is not None}
        chained = [(at, row.chain) for at, row in enumerate(rows) if row.chain is not None]
        picks = [self._pool.submit(_pick, chain, logits[at]) for at, chain in chained]
        chosen = self._sample(logits, [None if row.chain else row.sampler for row in rows])
        for (at, _), pick in zip(chained, picks, strict=True):
            chosen[at] = pick.result()
        scores = {
            at: token_scores(row, chosen[at], rows[at].job.logprobs or 0)
            for at, row in raw.items()
            if chosen[at] >= 0
        }
        return Choice(chosen, scores)

    def _sample(
        self, logits: npt.NDArray[np.float32], samplers: Sequence[RowSampler | None]
    ) -> list[int]:
        """``sample_rows`` in parts; this thread takes the first itself."""
        first, *rest = parts(logits.shape, self._threads)
        others = [self._pool.submit(sample_rows, logits[part], samplers[part]) for part in rest]
        chosen: list[int] = sample_rows(logits[first], samplers[first]).tolist()
        for other in others:
            chosen += other.result().tolist()
        return chosen

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()
