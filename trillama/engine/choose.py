"""From logits to tokens for all rows of a step, whatever sampler each row has.

Called by ``batching`` once a step. Rows with numpy samplers are chosen together; rows with a
library chain run beside each other on a small thread pool, since a chain releases the GIL.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt

from trillama.base.errors import EngineError

from .base import Chain
from .sampling import RowSampler, sample_rows


def _pick(chain: Chain, row: npt.NDArray[np.float32]) -> int:
    try:
        return chain.pick(row)
    except EngineError:
        return -1


def choose(
    logits: npt.NDArray[np.float32],
    samplers: Sequence[RowSampler],
    chains: Sequence[Chain | None],
    pool: Executor,
) -> npt.NDArray[np.int32]:
    """One token for each row; -1 where the row gave no usable probabilities.

    Args:
        logits: shape (rows, n_vocab); overwritten where penalties apply.
        samplers: one for each row; used where ``chains`` has None.
    """
    chained = [row for row, chain in enumerate(chains) if chain is not None]
    picks = pool.map(_pick, [c for c in chains if c is not None], [logits[r] for r in chained])
    plain = [None if chain else sampler for sampler, chain in zip(samplers, chains, strict=True)]
    chosen = sample_rows(logits, plain)
    chosen[chained] = list(picks)
    return chosen
