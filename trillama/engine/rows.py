"""What tokens are chosen from, beside whole rows of logits."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

RANKS = 64
"""Logits of a row that a context ranks: more than the usual top-k asks for."""


class Ranked(NamedTuple):
    """The best logits of each row, largest first, and their token ids; both of shape (rows, k)."""

    logits: npt.NDArray[np.float32]
    ids: npt.NDArray[np.int64]


class Chain(Protocol):
    """A sampler for options the numpy tiers do not cover (llama.cpp's own sampler chain).

    One thread at a time per chain; ``pick`` is a long call that releases the GIL.
    """

    def pick(self, row: npt.NDArray[np.float32]) -> int:
        """Choose a token from one row of logits, shape (n_vocab,), and remember it."""
        ...

    def close(self) -> None:
        """Free what the chain holds; it cannot be used afterwards."""
        ...
