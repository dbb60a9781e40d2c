"""From logits to tokens for all rows of a step, whatever sampler each row has.

Owned by ``batching``, which calls it once a step. Rows with numpy samplers are chosen together;
rows with a library chain run beside each other on a small thread pool, since a chain releases the
GIL.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trillama.base.errors import EngineError

from .base import Chain
from .sampling import RowSampler, sample_rows


class Row(Protocol):
    """What decides a row's token.

    Attributes:
        chain: used instead of ``sampler`` where there is one.
    """

    sampler: RowSampler
    chain: Chain | None


def _pick(chain: Chain, row: npt.NDArray[np.float32]) -> int:
    try:
        return chain.pick(row)
    except EngineError:
        return -1


class Chooser:
    """Chooses tokens, and owns the threads this may take; they start when first needed."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="sampling")

    def choose(self, logits: npt.NDArray[np.float32], rows: Sequence[Row]) -> list[int]:
        """One token for each row; -1 where the row gave no usable probabilities.

        Args:
            logits: shape (rows, n_vocab); overwritten where penalties apply.
        """
        chained = [(at, row.chain) for at, row in enumerate(rows) if row.chain is not None]
        picks = [self._pool.submit(_pick, chain, logits[at]) for at, chain in chained]
        chosen: list[int] = sample_rows(
            logits, [None if row.chain else row.sampler for row in rows]
        ).tolist()
        for (at, _), pick in zip(chained, picks, strict=True):
            chosen[at] = pick.result()
        return chosen

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()
