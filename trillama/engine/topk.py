"""The k largest logits of many rows at once, exactly.

Used by ``engine/sampling.py``. A row is cut into stripes laid over each other; the k-th largest of
the columns' maxima is no larger than the k-th largest logit, and hardly smaller, so only what
reaches it is looked at closely. Equal logits are ranked by token id, so a row's result never
depends on its neighbours or on their k.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

_CHUNK_BYTES = 4 << 20
"""Logits looked at in one go: what is read twice should come from the cache the second time."""
_LOWEST = np.finfo(np.float32).min
_SPARE_BITS = 31
"""Of a sorting key, beside a logit's: for row and token id."""


def top_k(logits: Floats, k: int) -> tuple[Floats, Ids, Floats]:
    """Rank the k largest logits of every row.

    Args:
        logits: shape (rows, n_vocab); only read.
        k: 1 or more; more than n_vocab means n_vocab.

    Returns:
        the logits, largest first, and their token ids, both of shape (rows, k), -inf where a row
        has fewer than k above it; and the maximum of each row, shape (rows,), NaN where a row holds
        a NaN: its ranks mean nothing then.
    """
    rows, n_vocab = logits.shape
    k = min(k, n_vocab)
    step = min(max(1, _CHUNK_BYTES // (4 * n_vocab)), 1 << (_SPARE_BITS - n_vocab.bit_length()))
    if rows <= step:
        return _rank(logits, k)
    parts = [_rank(logits[begin : begin + step], k) for begin in range(0, rows, step)]
    values, ids, peaks = zip(*parts, strict=True)
    return np.concatenate(values), np.concatenate(ids), np.concatenate(peaks)


def _rank(logits: Floats, k: int) -> tuple[Floats, Ids, Floats]:
    rows, n_vocab = logits.shape
    id_bits = n_vocab.bit_length()
    # Fewest numbers to look at: n/stripes column maxima and then stripes * k candidates.
    stripes = math.isqrt(n_vocab // k)
    width = n_vocab // stripes
    body = stripes * width
    maxima = logits[:, :body].reshape(rows, stripes, width).max(1)
    edge = np.maximum(np.partition(maxima, width - k, axis=1)[:, width - k], _LOWEST)
    peaks = np.maximum(maxima.max(1), logits[:, body:].max(1, initial=-np.inf))
    keys = _sorted_keys(logits, _reaching(logits, maxima, edge), id_bits)
    counts = np.bincount(keys >> (id_bits + 32), minlength=rows)
    keys = keys if keys.size else np.zeros(1, np.int64)  # no row has a token above -inf
    ranks = np.arange(k)
    best = keys.take((counts.cumsum() - counts)[:, None] + ranks, mode="clip")
    values = _logits_of(best >> id_bits)
    if counts.min() < k:
        values[ranks >= counts[:, None]] = -np.inf
    return values, best & ((1 << id_bits) - 1), peaks


def _reaching(logits: Floats, maxima: Floats, edge: Floats) -> Ids:
    """Places in the flat logits of all that is not below its row's edge."""
    n_vocab, width = logits.shape[1], maxima.shape[1]
    columns = np.flatnonzero(maxima >= edge[:, None])  # flat is much faster than by axes
    rows = columns // width
    columns += rows * (n_vocab - width)
    near = columns[:, None] + np.arange(0, n_vocab - n_vocab % width, width)
    found: Ids = near.ravel()[np.flatnonzero(logits.ravel()[near] >= edge[rows][:, None])]
    if rest := n_vocab % width:
        last = np.flatnonzero(logits[:, n_vocab - rest :] >= edge[:, None])
        found = np.append(found, last + (last // rest + 1) * (n_vocab - rest))
    return found


def _sorted_keys(logits: Floats, places: Ids, id_bits: int) -> Ids:
    """Integers that order by row, then logit descending, then token id ascending; sorted."""
    n_vocab = logits.shape[1]
    bits = logits.ravel()[places].view(np.int32)
    keys: Ids = places // n_vocab
    ids = places - keys * n_vocab
    keys <<= 32
    keys += ~(bits ^ ((bits >> 31) & 0x7FFF_FFFF))
    keys += 1 << 31
    keys <<= id_bits
    keys |= ids
    keys.sort()
    return keys


def _logits_of(keys: Ids) -> Floats:
    rising = ~((keys & 0xFFFF_FFFF) - (1 << 31)).astype(np.int32)
    found: Floats = (rising ^ ((rising >> 31) & 0x7FFF_FFFF)).view(np.float32)
    return found
