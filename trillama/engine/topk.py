"""The k largest logits of many rows at once, exactly.

Used by ``engine/sampling.py``. A row is cut into stripes laid over each other; the k-th largest of
the columns' maxima is no larger than the k-th largest logit, and hardly smaller, so only what
reaches it is looked at closely. Equal logits are ranked by token id, so a row's result never
depends on its neighbours or on their k.

Between two decodes nothing of this is in the processor's caches, and a call of numpy's costs ten
microseconds whatever it does: few calls count for more than few numbers. Beside a GPU the one pass
over all logits is spread over threads, and no more than that: every call takes the interpreter's
lock again, and eight threads that make all the calls for their rows are no faster than one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Work = Callable[[slice], None]
"""Something to be done for some rows."""
Spread = Callable[[tuple[int, ...], Work], None]
"""Has work done for all rows of logits of a shape, in parts that may be on several threads; returns
when it is done."""

_CHUNK_BYTES = 4 << 20
"""Logits looked at in one go: what is read twice should come from the cache the second time."""
_WORTH_SEARCHING = 3 << 17
"""Logits from which on looking only into the best columns is faster than at everything twice."""
_WORTH_PARTITION = 512
"""Columns from which on a partition is faster than numpy's vectorised sort."""
_LESS_ALONE, _LESS_BESIDE_THREADS = 1.5, 3
"""Columns are so much shorter, which leaves less to look at after them; where threads rank them,
by more."""
_FEW = 8
"""Numbers for each one wanted from which an edge is still found well above the others."""
LOWEST = np.finfo(np.float32).min
"""What stands for a row without a logit above -inf."""
_SPARE_BITS = 30
"""Of a sorting key, beside a logit's: for row and place."""


def top_k(logits: Floats, k: int, spread: Spread | None = None) -> tuple[Floats, Ids, Floats]:
    """Rank the k largest logits of every row.

    Args:
        logits: shape (rows, n_vocab); only read.
        k: 1 or more; more than n_vocab means n_vocab.
        spread: how to look at all logits; None does so on this thread.

    Returns:
        the logits, largest first, and their token ids, both of shape (rows, k), -inf where a row
        has fewer than k above it; and the maximum of each row, shape (rows,), NaN where a row holds
        a NaN: its ranks mean nothing then.
    """
    rows, n_vocab = logits.shape
    k = min(k, n_vocab)
    if rows == 1:
        values, ids, peak = top_k_of_row(logits[0], k)
        missing = k - len(ids)
        if missing:
            values = np.append(values, np.full(missing, -np.inf, np.float32))
            ids = np.append(ids, np.zeros(missing, np.int64))
        return values[None], ids[None], np.array([peak], np.float32)
    bits = (_SPARE_BITS - n_vocab.bit_length()) // 2
    step = 1 << bits
    if spread is None:
        step = min(max(1, _CHUNK_BYTES // (4 * n_vocab)), step)
    if rows <= step:
        return _rank(logits, k, spread)
    parts = [_rank(logits[begin : begin + step], k, spread) for begin in range(0, rows, step)]
    columns = list(zip(*parts, strict=True))
    return np.concatenate(columns[0]), np.concatenate(columns[1]), np.concatenate(columns[2])


def top_k_of_row(row: Floats, k: int) -> tuple[Floats, Ids, float]:
    """``top_k`` of one row in fewer calls; of fewer than k above -inf only those.

    Args:
        row: shape (n_vocab,); only read.
        k: 1 to n_vocab.
    """
    maxima = np.maximum.reduceat(row, np.arange(0, row.size, max(1, row.size // (4 * k))))
    maxima.sort()
    ids: Ids = (row >= max(maxima[-k], LOWEST)).nonzero()[0]
    values = row.take(ids)
    order = (-values).argsort(kind="stable")[:k]
    return values.take(order), ids.take(order), float(maxima[-1])


def _maxima(logits: Floats, stripes: int) -> Floats:
    """The maximum of each column, at least ``stripes`` tall; shape (rows, n_vocab // stripes)."""
    rows, n_vocab = logits.shape
    width = n_vocab // stripes
    body = stripes * width
    maxima: Floats = np.maximum.reduce(logits[:, :body].reshape(rows, stripes, width), axis=1)
    if rest := n_vocab - body:  # fewer than a stripe
        np.maximum(maxima[:, :rest], logits[:, body:], out=maxima[:, :rest])
    return maxima


def _rank(logits: Floats, k: int, spread: Spread | None) -> tuple[Floats, Ids, Floats]:
    n_vocab = logits.shape[1]
    search = logits.size >= _WORTH_SEARCHING
    # Fewest numbers to look at: n/stripes column maxima and then stripes * k candidates. Where all
    # is looked at twice, they get the length of a power of two, which leaves no rest to look at.
    shorter = _LESS_ALONE if spread is None else _LESS_BESIDE_THREADS
    stripes = int(math.isqrt(n_vocab // k) / shorter) if search else n_vocab >> (6 * k).bit_length()
    maxima, edge, peaks = _columns(logits, max(1, stripes), k, spread)
    places = _reaching(logits, maxima, edge) if search else (logits >= edge).ravel().nonzero()[0]
    flat = logits.ravel()
    row = places // n_vocab
    best = _in_order(row, flat.take(places), places, logits.size.bit_length())
    bounds = np.arange(0, logits.size + 1, n_vocab)
    first, ranks = best.searchsorted(bounds), np.arange(k)
    best = best.take(first[:-1, None] + ranks, mode="clip")
    values, ids = flat.take(best, mode="clip"), best - bounds[:-1, None]
    counts = first[1:] - first[:-1]
    if np.minimum.reduce(counts) < k:
        missing = ranks >= counts[:, None]
        values[missing], ids[missing] = -np.inf, 0
    return values, ids, peaks


def _columns(
    logits: Floats, stripes: int, k: int, spread: Spread | None
) -> tuple[Floats, Floats, Floats]:
    """The columns' maxima and what ``_edge`` says of them."""
    if spread is None:
        maxima = _maxima(logits, stripes)
        return maxima, *_edge(maxima, k)
    rows, n_vocab = logits.shape
    maxima = np.empty((rows, n_vocab // stripes), np.float32)
    edge, peaks = np.empty((rows, 1), np.float32), np.empty(rows, np.float32)

    def look(part: slice) -> None:
        maxima[part] = _maxima(logits[part], stripes)
        edge[part], peaks[part] = _edge(maxima[part], k)

    spread(logits.shape, look)
    return maxima, edge, peaks


def _edge(maxima: Floats, k: int) -> tuple[Floats, Floats]:
    """What the k largest of each row reach, and few others, shape (rows, 1); and the largest,
    shape (rows,)."""
    width = maxima.shape[1]
    if width >= 2 * _FEW * k:
        # The same once more: a little below the edge is an edge too, and sooner found.
        maxima = _maxima(maxima, width // (_FEW * k))
        width = maxima.shape[1]
    if width < _WORTH_PARTITION:
        maxima = np.sort(maxima, axis=1)
        return np.maximum(maxima[:, width - k, None], LOWEST), maxima[:, -1]
    edge = np.partition(maxima, width - k, axis=1)[:, width - k, None]
    return np.maximum(edge, LOWEST), np.maximum.reduce(maxima, axis=1)


def _reaching(logits: Floats, maxima: Floats, edge: Floats) -> Ids:
    """Places in the flat logits of all that is not below its row's edge."""
    n_vocab, width = logits.shape[1], maxima.shape[1]
    columns = (maxima >= edge).ravel().nonzero()[0]  # flat is much faster than by axes
    rows = columns // width
    columns += rows * (n_vocab - width)
    near = columns[:, None] + np.arange(0, n_vocab - n_vocab % width, width)
    found: Ids = near.ravel()[np.flatnonzero(logits.ravel()[near] >= edge[rows])]
    if rest := n_vocab % width:
        last = np.flatnonzero(logits[:, n_vocab - rest :] >= edge)
        found = np.append(found, last + (last // rest + 1) * (n_vocab - rest))
    return found


def _in_order(row: Ids, logits: Floats, places: Ids, bits: int) -> Ids:
    """Places by row, then by logit, largest first, then by token id; each fits in ``bits``."""
    keys = row << 32
    keys -= _rising(logits)
    keys <<= bits
    keys |= places
    keys.sort()
    keys &= (1 << bits) - 1
    return keys if keys.size else np.full(1, 1 << bits)  # no row has a token above -inf


def _rising(logits: Floats) -> npt.NDArray[np.int32]:
    """Integers that order as logits do."""
    bits = (logits + np.float32(0)).view(np.int32)  # no -0.0: it would rank below 0.0
    rising = bits >> 31
    rising &= 0x7FFF_FFFF
    rising ^= bits
    return rising
