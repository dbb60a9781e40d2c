"""The fake engine's sampler chain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trillama.base.errors import EngineError
from trillama.base.options import Options

from .fake_hooks import Counters


class FakeChain:
    """Plain sampling by temperature, closed exactly once."""

    def __init__(self, options: Options, counters: Counters) -> None:
        seed = options.seed if options.seed >= 0 else None
        self._temperature = options.temperature
        self._random = np.random.default_rng(seed)
        self._counters = counters
        self._closed = False

    def pick(self, row: npt.NDArray[np.float32]) -> int:
        """Choose a token from one row of logits, shape (n_vocab,)."""
        if self._closed:
            raise EngineError("the chain is closed")
        if self._temperature <= 0:
            return int(row.argmax())
        weights = np.exp((row - row.max()) / self._temperature, dtype=np.float64)
        return int(self._random.choice(len(row), p=weights / weights.sum()))

    def close(self) -> None:
        """Give the chain back."""
        if self._closed:
            raise EngineError("the chain was closed twice")
        self._closed = True
        self._counters.chains -= 1
