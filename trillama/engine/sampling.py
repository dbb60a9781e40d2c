"""Choosing tokens in numpy, all rows of a step together.

``batching`` owns one ``RowSampler`` per job, ``choose`` samples ``Rows`` once a step. The order is
llama.cpp's: bias, penalties, top-k, top-p, min-p, temperature, draw. Options that need the whole
vocabulary sorted or summed (``Tier.CHAIN``) are left to llama.cpp's own chains. Random numbers
belong to the job: neither its neighbours nor its place in the batch change what it draws.

This module imports neither llama_cpp nor trio. Only a ``RowSampler`` changes by being used.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trillama.base.options import Options

from .penalties import RecentTokens, add_bias, penalise
from .topk import LOWEST, Floats, Ids, Spread, top_k, top_k_of_row

MAX_TOP_K = 256
"""Largest top_k worth doing here; llama.cpp's partial sort takes over beyond."""

_BLOCK = 64
_ONLY_THE_BEST = (1.0, math.inf, -math.inf, 1.0)
_COLDEST = 1e-200
"""A lower temperature leads to the same, and differences of logits over it to infinity."""


class Tier(enum.Enum):
    """How a row's token is chosen."""

    GREEDY = "greedy"
    TOPK = "topk"
    CHAIN = "chain"


def tier(options: Options) -> Tier:
    """The cheapest exact way to sample with ``options``."""
    if options.typical_p < 1 and options.top_k != 1:
        return Tier.CHAIN  # may drop the most probable token, at temperature 0 too
    if options.greedy:
        return Tier.GREEDY
    return Tier.TOPK if 1 <= options.top_k <= MAX_TOP_K else Tier.CHAIN


class RowSampler:
    """What one job's sampling remembers: its random numbers and its latest tokens.

    Args:
        options: already checked.
        prompt: int32, shape (n,); penalties see its end, as in llama-server.
        n_vocab: number of token ids.
        entropy: seed in place of a negative ``options.seed``; None takes the system's entropy.

    Attributes:
        bias: ids and what is added to their logits, None without a bias.
        recent: tokens the penalties look back at, None without penalties.
        penalties: (repeat, frequency, presence).
        shape: (top_k, top_p, log(min_p), temperature) with each filter that is off set to let
            everything pass; top_k is 0 for ``Tier.CHAIN``.
    """

    __slots__ = ("_draws", "_next", "_random", "bias", "penalties", "recent", "shape")

    def __init__(
        self,
        options: Options,
        prompt: npt.NDArray[np.int32],
        n_vocab: int,
        *,
        entropy: int | None = None,
    ) -> None:
        seed = options.seed if options.seed >= 0 else entropy
        kind = tier(options)
        self.shape = _shape(options, kind)
        self.bias = _bias(options, n_vocab)
        self.penalties = (
            options.repeat_penalty,
            options.frequency_penalty,
            options.presence_penalty,
        )
        # A chain keeps a history of its own.
        looks_back = options.penalised and kind is not Tier.CHAIN
        self.recent = RecentTokens(prompt, options.repeat_last_n, n_vocab) if looks_back else None
        self._random = np.random.Generator(np.random.PCG64(seed)) if kind is Tier.TOPK else None
        self._draws: list[float] = []
        self._next = 0

    @property
    def top_k(self) -> int:
        """Best logits it draws among; 1 for a greedy row, 0 for ``Tier.CHAIN``."""
        return int(self.shape[0])

    def accept(self, token: int) -> None:
        """Remember that ``token`` was generated."""
        if self.recent is not None:
            self.recent.add(token)

    def draw(self) -> float:
        """The next random number in [0, 1); always 0 for a greedy row."""
        if self._next == len(self._draws):
            if self._random is None:
                return 0.0
            self._draws = self._draws[-_BLOCK:] + self._random.random(_BLOCK).tolist()[::-1]
            self._next = len(self._draws) - _BLOCK
        self._next += 1
        return self._draws[self._next - 1]

    def take_back(self, count: int) -> None:
        """Undo the latest draws, at most ``_BLOCK`` of them: they led to no token."""
        if self._random is not None:
            self._next -= count


def _shape(options: Options, kind: Tier) -> tuple[float, float, float, float]:
    if kind is Tier.GREEDY:
        return _ONLY_THE_BEST
    top_k = options.top_k if kind is Tier.TOPK else 0
    top_p = options.top_p if options.top_p < 1 else math.inf
    log_min_p = math.log(options.min_p) if options.min_p > 0 else -math.inf
    return float(top_k), top_p, log_min_p, max(options.temperature, _COLDEST)


def _bias(
    options: Options, n_vocab: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]] | None:
    total: dict[int, float] = {}
    for token, value in options.logit_bias:
        if 0 <= token < n_vocab:
            total[token] = total.get(token, 0.0) + value
    if not total:
        return None
    return np.array(list(total), np.int32), np.array(list(total.values()), np.float32)


def draws_of(samplers: Sequence[RowSampler | None]) -> list[float]:
    """The next random number of each row, in order: one sampler may have several rows."""
    return [0.0 if row is None else row.draw() for row in samplers]


class Rows:
    """The samplers of some rows, and what follows from them, made once for many steps.

    Args:
        samplers: one per row; None for a row that is sampled elsewhere and left as it is.
        spread: how to look at all logits of several rows; None does so on this thread.
    """

    __slots__ = ("_absent", "_at", "_biased", "_looking", "_shapes", "_spread", "samplers")

    def __init__(self, samplers: Sequence[RowSampler | None], spread: Spread | None = None) -> None:
        self.samplers = samplers
        self._spread = spread
        self._at = np.arange(len(samplers))
        shapes = np.array([_ONLY_THE_BEST if s is None else s.shape for s in samplers])
        self._shapes = Shapes(shapes.reshape(-1, 4))
        present = [(row, s) for row, s in enumerate(samplers) if s is not None]
        self._absent = np.array([s is None for s in samplers]) if None in samplers else None
        self._biased = [(row, s.bias) for row, s in present if s.bias is not None]
        looking = [(row, s.recent, s.penalties) for row, s in present if s.recent is not None]
        self._looking = looking

    def sample(self, logits: Floats) -> npt.NDArray[np.int32]:
        """See ``sample_rows``."""
        if self._biased or self._looking:
            with np.errstate(all="ignore"):
                if self._biased:
                    add_bias(logits, *zip(*self._biased, strict=True))
                if self._looking:
                    penalise(logits, *zip(*self._looking, strict=True))
        return self.draw(logits)

    def draw(self, logits: Floats) -> npt.NDArray[np.int32]:
        """``sample`` from logits that have their biases and penalties already."""
        if not self.samplers:
            return np.empty(0, np.int32)
        if self._shapes.most < 1:
            raise ValueError("rows of Tier.CHAIN are sampled by their chains")
        if len(self.samplers) == 1 and self._absent is None:
            (draw,) = draws_of(self.samplers)
            return np.array([self._draw_alone(logits[0], draw)], np.int32)
        with np.errstate(all="ignore"):
            return self._draw(logits)

    def draw_ranked(self, logits: Floats, ids: Ids) -> npt.NDArray[np.int32]:
        """``sample`` from the best of each row, largest first; -1 where they are not usable.

        Args:
            logits, ids: shape (rows, k) for a k that is enough for all samplers.
        """
        most, drawn = self._shapes.most, draws_of(self.samplers)
        with np.errstate(all="ignore"):
            values = logits[:, :most]
            peaks = np.maximum.reduce(values, axis=1)
            if len(drawn) == 1:
                rank = np.array([self._shapes.rank_alone(values[0], drawn[0])])
            else:
                rank = self._shapes.rank_drawn(values, np.array(drawn))
        chosen = ids[self._at, rank]
        equal = logits == logits[self._at, rank, None]
        for row in np.flatnonzero(equal.sum(1) > 1):  # ranked by token id, as everywhere
            (tied,) = equal[row].nonzero()
            chosen[row] = np.sort(ids[row, tied])[rank[row] - tied[0]]
        usable = np.isfinite(peaks) & (peaks > LOWEST)
        return np.where(usable, chosen, -1).astype(np.int32)

    def _draw(self, logits: Floats) -> npt.NDArray[np.int32]:
        """Rows of NaN and infinities are computed along and dropped."""
        most = self._shapes.most
        if most == 1:
            chosen = self._argmax(logits)
            peaks = logits[self._at, chosen]
        else:
            values, ids, peaks = top_k(logits, most, self._spread)
            drawn = np.array(draws_of(self.samplers))
            rank = self._shapes.rank_drawn(values, drawn)
            chosen = ids[self._at, rank]
        usable = np.isfinite(peaks)
        if self._absent is not None:
            usable &= ~self._absent
        if not usable.all():
            chosen = np.where(usable, chosen, -1)
        tokens: npt.NDArray[np.int32] = chosen.astype(np.int32)
        return tokens

    def _argmax(self, logits: Floats) -> Ids:
        if self._spread is None:
            best: Ids = logits.argmax(1)
            return best
        chosen = np.empty(len(logits), np.int64)

        def look(part: slice) -> None:
            chosen[part] = logits[part].argmax(1)

        self._spread(logits.shape, look)
        return chosen

    def _draw_alone(self, row: Floats, draw: float) -> int:
        """What the only row gets, the same as among others, in half as many calls: none of them
        sees a number that is not finite, so numpy needs not be told to be silent."""
        most = min(self._shapes.most, row.size)
        if most == 1:
            token = int(row.argmax())
            return token if math.isfinite(row[token]) else -1
        values, ids, peak = top_k_of_row(row, most)
        return int(ids[self._shapes.rank_alone(values, draw)]) if math.isfinite(peak) else -1


class Shapes:
    """``RowSampler.shape`` of several rows; a filter that none of them has is left out.

    Args:
        shapes: shape (rows, 4).

    Attributes:
        most: the largest top_k; 0 where a row belongs to ``Tier.CHAIN``.
    """

    __slots__ = ("_log_min_p", "_temperature", "_top", "_top_p", "most")

    def __init__(self, shapes: npt.NDArray[np.float64]) -> None:
        top, top_p, log_min_p, self._temperature = shapes.T[:, :, None].copy()
        self.most = int(top.max(initial=1)) if (top >= 1).all() else 0
        self._top = top if (top < self.most).any() else None
        self._top_p = top_p if np.isfinite(top_p).any() else None
        self._log_min_p = log_min_p if np.isfinite(log_min_p).any() else None

    def rank_drawn(self, values: Floats, draws: npt.NDArray[np.float64]) -> Ids:
        """Which of its ranked logits each row draws, shape (rows,).

        Args:
            values: logits, largest first, shape (rows, k).
            draws: random numbers in [0, 1).
        """
        below = np.subtract(values, values[:, :1], dtype=np.float64)
        keep = None if self._top is None else np.arange(values.shape[1]) < self._top
        if self._top_p is not None:
            mass = np.exp(below)
            if keep is not None:
                mass *= keep
            mass = np.add.accumulate(mass, axis=1)
            within = np.ones(values.shape, np.bool_)
            np.less(mass[:, :-1], self._top_p * mass[:, -1:], out=within[:, 1:])
            keep = within if keep is None else keep & within
        if self._log_min_p is not None:
            likely = below >= self._log_min_p
            keep = likely if keep is None else keep & likely
        below /= self._temperature
        weights = np.exp(below, out=below)
        if keep is not None:
            weights *= keep
        weights = np.add.accumulate(weights, axis=1)
        passed = np.add.reduce(weights <= draws[:, None] * weights[:, -1:], axis=1, dtype=np.int64)
        ranks: Ids = np.minimum(passed, values.shape[1] - 1)
        return ranks

    def rank_alone(self, values: Floats, draw: float) -> int:
        """``rank_drawn`` of the only row, shape (k,): each filter keeps a first part of it."""
        below = values.astype(np.float64)
        below -= below[0]
        count = below.size
        if self._top_p is not None:
            mass = np.add.accumulate(np.exp(below))
            count = 1 + int(mass[:-1].searchsorted(float(self._top_p[0, 0]) * mass[-1]))
        if self._log_min_p is not None:
            least = float(self._log_min_p[0, 0])
            count = min(count, int(np.count_nonzero(below >= least)))
        weights = np.add.accumulate(np.exp(below[:count] / float(self._temperature[0, 0])))
        passed = weights.searchsorted(draw * weights[-1], side="right")
        return min(int(passed), values.size - 1)


def sample_rows(
    logits: Floats,
    samplers: Sequence[RowSampler | None],
) -> npt.NDArray[np.int32]:
    """Choose one token for each row.

    Args:
        logits: shape (rows, n_vocab); bias and penalties are applied in place.
        samplers: one per row; None for a row that is sampled elsewhere and left as it is.

    Returns:
        tokens, shape (rows,); -1 where the row holds a NaN or no finite maximum, or has no sampler.

    Raises:
        ValueError: a sampler's options belong to ``Tier.CHAIN``.
    """
    return Rows(samplers).sample(logits)
