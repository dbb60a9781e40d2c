"""Logit bias and the penalties on earlier tokens, in place and for all rows together.

Used by ``engine/sampling.py``. The arithmetic is that of llama.cpp's penalties sampler: a positive
logit is divided by ``repeat_penalty``, any other multiplied by it; then count times
``frequency_penalty`` plus ``presence_penalty`` is subtracted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


class RecentTokens:
    """The last tokens of one sequence and how often each occurs, kept up to date in O(1).

    Args:
        tokens: int32, shape (n,), newest last; ids outside the vocabulary are left out.
        window: tokens to look back at; negative means all.
        n_vocab: number of token ids.
    """

    __slots__ = ("_counts", "_ids", "_limit", "_slots", "_window")

    def __init__(self, tokens: Ints, window: int, n_vocab: int) -> None:
        tail = tokens[-window:] if window > 0 else tokens
        tail = tail[(tail >= 0) & (tail < n_vocab)]
        ids, counts = np.unique(tail, return_counts=True)
        self._limit = window
        self._window: deque[int] | None = deque(tail.tolist()) if window >= 0 else None
        self._slots = {token: slot for slot, token in enumerate(ids.tolist())}
        self._ids = ids.astype(np.int32)
        self._counts = counts.astype(np.float32)

    @property
    def ids(self) -> Ints:
        """Distinct tokens, shape (m,)."""
        return self._ids[: len(self._slots)]

    @property
    def counts(self) -> Floats:
        """How often each of ``ids`` occurs, shape (m,)."""
        return self._counts[: len(self._slots)]

    def add(self, token: int) -> None:
        """Remember ``token``; the oldest one leaves a full window."""
        slot = self._slots.get(token)
        if slot is None:
            slot = self._new_slot(token)
        self._counts[slot] += 1
        if self._window is not None:
            self._window.append(token)
            if len(self._window) > self._limit:
                self._forget(self._window.popleft())

    def _new_slot(self, token: int) -> int:
        slot = len(self._slots)
        if slot == len(self._ids):
            more = max(16, slot)
            self._ids = np.concatenate([self._ids, np.zeros(more, np.int32)])
            self._counts = np.concatenate([self._counts, np.zeros(more, np.float32)])
        self._slots[token] = slot
        self._ids[slot] = token
        self._counts[slot] = 0
        return slot

    def _forget(self, token: int) -> None:
        slot = self._slots[token]
        self._counts[slot] -= 1
        if not self._counts[slot]:
            del self._slots[token]
            last = len(self._slots)
            if slot != last:  # the last one moves into the gap
                self._ids[slot], self._counts[slot] = self._ids[last], self._counts[last]
                self._slots[int(self._ids[slot])] = slot


def add_bias(logits: Floats, rows: Sequence[int], biases: Sequence[tuple[Ints, Floats]]) -> None:
    """Add ``values`` to the logits of ``ids`` for each (ids, values) of ``rows``, in place.

    The ids of one row are distinct and inside the vocabulary.
    """
    ids = np.concatenate([ids for ids, _ in biases])
    row = np.repeat(rows, [len(ids) for ids, _ in biases])
    logits[row, ids] += np.concatenate([values for _, values in biases])


def penalise(
    logits: Floats,
    rows: Sequence[int],
    recents: Sequence[RecentTokens],
    factors: Sequence[tuple[float, float, float]],
) -> None:
    """Apply the penalties of ``rows`` in place.

    Args:
        logits: shape (rows of the step, n_vocab).
        rows: the rows that have penalties.
        recents: what each of them looks back at.
        factors: (repeat, frequency, presence) of each.
    """
    ids = np.concatenate([recent.ids for recent in recents])
    counts = np.concatenate([recent.counts for recent in recents])
    lengths = [len(recent.ids) for recent in recents]
    row = np.repeat(rows, lengths)
    repeat, frequency, presence = np.repeat(np.array(factors, np.float32), lengths, axis=0).T
    found = logits[row, ids]
    scaled = np.where(found <= 0, found * repeat, found / repeat)
    logits[row, ids] = scaled - (counts * frequency + presence)
