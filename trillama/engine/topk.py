"""The k largest logits of many rows at once, exactly.

Used by ``engine/sampling.py``. A row is cut into stripes laid over each other; the k columns with
the largest maxima must hold the k largest logits, so only those are looked at closely. Equal logits
are ranked by token id, so a row's result never depends on its neighbours or on their k.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

_CHUNK_BYTES = 4 << 20
"""Logits looked at in one go: what is read twice should come from the cache the second time."""
_FEWEST_STRIPES = 4
_LOW_WORD = 0xFFFF_FFFF
_ABOVE_ALL = np.iinfo(np.int64).max


def top_k(logits: Floats, k: int) -> tuple[Floats, Ids, Floats]:
    """Rank the k largest logits of every row.

    Args:
        logits: shape (rows, n_vocab); only read.
        k: 1 or more; more than n_vocab means n_vocab.

    Returns:
        the logits, largest first, and their token ids, both of shape (rows, k); and the maximum of
        each row, shape (rows,), NaN where a row holds a NaN: its ranks mean nothing then.
    """
    rows, n_vocab = logits.shape
    k = min(k, n_vocab)
    step = max(1, _CHUNK_BYTES // (4 * n_vocab))
    if rows <= step:
        return _rank(logits, k)
    parts = [_rank(logits[begin : begin + step], k) for begin in range(0, rows, step)]
    values, ids, peaks = zip(*parts, strict=True)
    return np.concatenate(values), np.concatenate(ids), np.concatenate(peaks)


def _rank(logits: Floats, k: int) -> tuple[Floats, Ids, Floats]:
    n_vocab = logits.shape[1]
    # Fewest numbers to look at: n/stripes column maxima and then stripes * k candidates.
    stripes = math.isqrt(n_vocab // k)
    if stripes < _FEWEST_STRIPES:
        keys, peaks = _keys(logits, np.arange(n_vocab)), logits.max(1)
    else:
        keys, peaks = _candidates(logits, k, stripes)
    best = np.partition(keys, k - 1, axis=1)[:, :k]
    best.sort(axis=1)
    return _logits_of(best), best & _LOW_WORD, peaks


def _candidates(logits: Floats, k: int, stripes: int) -> tuple[Ids, Floats]:
    """Keys among which the k smallest of all are, and the maximum of each row."""
    rows, n_vocab = logits.shape
    width = n_vocab // stripes
    body = stripes * width
    maxima = logits[:, :body].reshape(rows, stripes, width).max(1)
    order = np.argpartition(maxima, width - k, axis=1)[:, width - k :]
    near = stripes * k
    values = np.empty((rows, near + n_vocab - body), np.float32)
    ids = np.empty(values.shape, np.int64)
    striped = logits[:, :body].reshape(rows, stripes, width)
    values[:, :near].reshape(rows, k, stripes)[:] = striped[np.arange(rows)[:, None], :, order]
    ids[:, :near].reshape(rows, k, stripes)[:] = order[:, :, None] + np.arange(0, body, width)
    values[:, near:] = logits[:, body:]
    ids[:, near:] = np.arange(body, n_vocab)
    keys = _keys(values, ids)
    edge = maxima[np.arange(rows), order[:, 0]]
    for row in _undecided(maxima, edge, k):
        keys[row, :k] = np.partition(_keys(logits[row], np.arange(n_vocab)), k - 1)[:k]
        keys[row, k:] = _ABOVE_ALL
    peaks = maxima.max(1)
    return keys, np.maximum(peaks, logits[:, body:].max(1, initial=-np.inf))


def _undecided(maxima: Floats, edge: Floats, k: int) -> list[int]:
    """Rows where a column left out is as large as one taken, so that ids must decide.

    Columns of -inf are never missed: what they hold cannot be drawn.
    """
    taken_or_equal = np.count_nonzero(maxima >= edge[:, None], axis=1)
    rows: list[int] = np.flatnonzero((taken_or_equal > k) & (edge > -np.inf)).tolist()
    return rows


def _keys(logits: Floats, ids: Ids) -> Ids:
    """Integers that sort as (logit descending, id ascending)."""
    bits = logits.view(np.int32)
    falling = bits >> 31
    falling &= 0x7FFF_FFFF
    falling ^= bits
    np.invert(falling, out=falling)
    keys = falling.astype(np.int64)
    keys <<= 32
    keys |= ids
    return keys


def _logits_of(keys: Ids) -> Floats:
    bits = (~(keys >> 32)).astype(np.int32)
    bits ^= (bits >> 31) & 0x7FFF_FFFF
    return bits.view(np.float32)
