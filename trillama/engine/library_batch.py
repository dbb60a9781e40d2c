"""A batch in the memory that llama_decode reads."""

from __future__ import annotations

import ctypes

import numpy as np

from .guards import GuardedBatch
from .library import lib

_INT32 = ctypes.POINTER(ctypes.c_int32)
_INT8 = ctypes.POINTER(ctypes.c_int8)


class LlamaBatch(GuardedBatch):
    """A batch whose arrays are the very memory that llama_decode reads.

    Args:
        pins: distance from a row's sequence to the one that pins its cell; 0 without pins.

    Attributes:
        c: the llama_batch; its pointers are set once, its ``n_tokens`` before each decode.
    """

    __slots__ = ("_counts", "_pins", "_rows", "_shared", "c")

    def __init__(self, capacity: int, pins: int = 0) -> None:
        super().__init__(capacity)
        self._pins = pins
        self._shared = np.zeros((capacity, 2), np.int32)
        owners = self._shared if pins else self.sequences
        # Never a count of 0: it would be read through a wild pointer.
        self._counts = np.full(capacity, 2 if pins else 1, np.int32)
        self._rows = np.zeros(capacity + 1, np.uintp)  # ends with NULL
        self._rows[:capacity] = owners.ctypes.data + owners.strides[0] * np.arange(capacity)
        self.c = lib.llama_batch(
            n_tokens=0,
            token=self.tokens.ctypes.data_as(_INT32),
            embd=None,
            pos=self.positions.ctypes.data_as(_INT32),
            n_seq_id=self._counts.ctypes.data_as(_INT32),
            seq_id=self._rows.ctypes.data_as(ctypes.POINTER(_INT32)),
            logits=self.wants_logits.ctypes.data_as(_INT8),
        )

    def seal(self) -> None:
        """Make the rows in use ready to be decoded."""
        self.c.n_tokens = self.size
        if self._pins:
            rows = self.sequences[: self.size]
            self._shared[: self.size] = np.stack((rows, rows + self._pins), axis=1)
