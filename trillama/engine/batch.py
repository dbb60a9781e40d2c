"""The rows of one decode, in arrays that llama.cpp can read as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class Batch:
    """Rows for one decode call in arrays that are made once and refilled each step.

    Attributes:
        tokens, positions, sequences: int32, shape (capacity,).
        wants_logits: int8, shape (capacity,); 1 where a row of logits is wanted.
        size: rows in use.

    An engine may subclass or wrap it to hang its own pointers on the same memory: the arrays are
    never replaced, only refilled.
    """

    __slots__ = ("positions", "sequences", "size", "tokens", "wants_logits")

    def __init__(self, capacity: int) -> None:
        self.tokens: npt.NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.positions: npt.NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.sequences: npt.NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.wants_logits: npt.NDArray[np.int8] = np.zeros(capacity, np.int8)
        self.size = 0

    @property
    def capacity(self) -> int:
        """Rows the arrays hold."""
        return len(self.tokens)

    @property
    def outputs(self) -> int:
        """Rows that want logits."""
        return int(self.wants_logits[: self.size].sum())

    def clear(self) -> None:
        """Forget all rows."""
        self.size = 0

    def add_run(self, sequence: int, start: int, tokens: npt.NDArray[np.int32]) -> None:
        """Append ``tokens`` of one sequence at positions ``start``.., without logits."""
        begin, end = self.size, self.size + len(tokens)
        self.tokens[begin:end] = tokens
        self.positions[begin:end] = np.arange(start, start + len(tokens), dtype=np.int32)
        self.sequences[begin:end] = sequence
        self.wants_logits[begin:end] = 0
        self.size = end

    def add_heads(
        self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int]
    ) -> None:
        """Append one row with logits for each of several sequences."""
        begin, end = self.size, self.size + len(tokens)
        self.tokens[begin:end] = tokens
        self.positions[begin:end] = positions
        self.sequences[begin:end] = sequences
        self.wants_logits[begin:end] = 1
        self.size = end

    def want_last(self, count: int = 1) -> None:
        """Ask for logits of the rows added last."""
        self.wants_logits[self.size - count : self.size] = 1
