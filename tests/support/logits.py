"""Rows of logits for tests of sampling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def random_rows(rows: int, n_vocab: int, seed: int = 0) -> Floats:
    """Logits like a model's: most far below a few."""
    return (np.random.default_rng(seed).standard_normal((rows, n_vocab)) * 3).astype(np.float32)
