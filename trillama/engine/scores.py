"""Log-probabilities of a row of logits, for clients that ask to see them.

Pure, used by ``engine/choose.py`` for the rows that want it, before anything changes the logits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trillama.base.events import TokenScores

from .topk import top_k

LEAST = -9999.0
"""What an impossible token scores: JSON has no infinity."""


def token_scores(row: npt.NDArray[np.float32], token: int, alternatives: int) -> TokenScores:
    """What ``token`` and the most probable tokens scored.

    Args:
        row: raw logits, shape (n_vocab,).
        alternatives: how many of the most probable tokens to report.
    """
    peak = float(row.max())
    total = peak + float(np.log(np.exp(row - peak).sum(dtype=np.float64)))

    def score(logit: float) -> float:
        return max(logit - total, LEAST)

    top: tuple[tuple[int, float], ...] = ()
    if alternatives:
        finite = np.maximum(row, np.finfo(np.float32).min)  # the impossible are ranked, too
        values, ids, _ = top_k(finite[None], alternatives)
        top = tuple(zip(ids[0].tolist(), map(score, values[0].tolist()), strict=True))
    return TokenScores(score(float(row[token])), top)
