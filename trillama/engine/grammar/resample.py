"""Drawing among the tokens that a grammar allows. Pure numpy, used by ``engine/choose.py``.

Where few tokens are allowed only their logits are looked at; the order of ids is kept, so that
equal logits are ranked as in the whole row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trillama.base.jobs import Mask
from trillama.engine.sampling import Rows, RowSampler


def allowed(mask: Mask, n_vocab: int) -> npt.NDArray[np.int64]:
    """Ids of the bits that are set, in order."""
    words = np.flatnonzero(mask)
    bits = np.unpackbits(mask[words].view(np.uint8), bitorder="little").reshape(-1, 32)
    word, bit = np.nonzero(bits)
    ids = words[word] * 32 + bit
    return ids[: np.searchsorted(ids, n_vocab)]


def draw_allowed(
    logits: npt.NDArray[np.float32],
    rows: Sequence[int],
    masks: Sequence[Mask],
    samplers: Sequence[RowSampler],
) -> list[int]:
    """One token for each of ``rows``; -1 where nothing is allowed or the row is unusable.

    Args:
        logits: shape (all rows, n_vocab), penalties and biases already in.
        masks, samplers: one for each of ``rows``.
    """
    ids = [allowed(mask, logits.shape[1]) for mask in masks]
    width = max(1, *map(len, ids))
    values = np.full((len(rows), width), -np.inf, np.float32)
    for at, (row, some) in enumerate(zip(rows, ids, strict=True)):
        values[at, : len(some)] = logits[row, some]
    ranks = Rows(samplers).draw(values).tolist()
    return [int(ids[at][rank]) if rank >= 0 else -1 for at, rank in enumerate(ranks)]


def forbid(row: npt.NDArray[np.float32], mask: Mask) -> None:
    """Give -inf to every logit of a row that ``mask`` does not allow, in place."""
    bits = np.unpackbits(mask.view(np.uint8), count=len(row), bitorder="little")
    row[bits == 0] = -np.inf
