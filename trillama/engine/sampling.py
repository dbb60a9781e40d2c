"""Choosing tokens in numpy, all rows of a step together.

``batching`` owns one ``RowSampler`` per job and calls ``sample_rows`` once a step. The order is
llama.cpp's: bias, penalties, top-k, top-p, min-p, temperature, draw. Options that need the whole
vocabulary sorted or summed (``Tier.CHAIN``) are left to llama.cpp's own chains. Random numbers
belong to the job: neither its neighbours nor its place in the batch change what it draws.

This module imports neither llama_cpp nor trio, and keeps no state between calls.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trillama.base.options import Options

from .penalties import RecentTokens, add_bias, penalise
from .topk import Floats, Ids, top_k

MAX_TOP_K = 256
"""Largest top_k worth doing here; llama.cpp's partial sort takes over beyond."""

_BLOCK = 64
_ONLY_THE_BEST = (1.0, math.inf, -math.inf, 1.0)


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

    def accept(self, token: int) -> None:
        """Remember that ``token`` was generated."""
        if self.recent is not None:
            self.recent.add(token)

    def draw(self) -> float:
        """The next random number in [0, 1); always 0 for a greedy row."""
        if self._random is None:
            return 0.0
        if self._next == len(self._draws):
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
    return float(top_k), top_p, log_min_p, options.temperature


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


def sample_rows(
    logits: Floats,
    samplers: Sequence[RowSampler | None],
    draws: Sequence[float] | None = None,
) -> npt.NDArray[np.int32]:
    """Choose one token for each row.

    Args:
        logits: shape (rows, n_vocab); bias and penalties are applied in place.
        samplers: one per row; None for a row that is sampled elsewhere and left as it is.
        draws: random numbers in place of the samplers' next ones.

    Returns:
        tokens, shape (rows,); -1 where the row holds a NaN or no finite maximum, or has no sampler.

    Raises:
        ValueError: a sampler's options belong to ``Tier.CHAIN``.
    """
    if not samplers:
        return np.empty(0, np.int32)
    with np.errstate(all="ignore"):
        _adjust(logits, samplers)
    return draw_rows(logits, samplers, draws)


def draw_rows(
    logits: Floats,
    samplers: Sequence[RowSampler | None],
    draws: Sequence[float] | None = None,
) -> npt.NDArray[np.int32]:
    """``sample_rows`` of logits that have their biases and penalties already."""
    shapes = np.array([_ONLY_THE_BEST if row is None else row.shape for row in samplers])
    if shapes[:, 0].min() < 1:
        raise ValueError("rows of Tier.CHAIN are sampled by their chains")
    with np.errstate(all="ignore"):  # rows of NaN and infinities are computed along and dropped
        most = int(shapes[:, 0].max())
        if most == 1:
            chosen = logits.argmax(1)
            peaks = logits[np.arange(len(samplers)), chosen]
        else:
            values, ids, peaks = top_k(logits, most)
            drawn = np.array(draws_of(samplers) if draws is None else draws)
            rank = _rank_drawn(values, shapes, drawn)
            chosen = ids[np.arange(len(samplers)), rank]
    absent = np.array([row is None for row in samplers])
    tokens: npt.NDArray[np.int32] = np.where(np.isfinite(peaks) & ~absent, chosen, -1)
    return tokens.astype(np.int32)


def _adjust(logits: Floats, samplers: Sequence[RowSampler | None]) -> None:
    biased = [(row, s.bias) for row, s in enumerate(samplers) if s and s.bias is not None]
    if biased:
        add_bias(logits, *zip(*biased, strict=True))
    looking = [
        (row, s.recent, s.penalties) for row, s in enumerate(samplers) if s and s.recent is not None
    ]
    if looking:
        penalise(logits, *zip(*looking, strict=True))


def _rank_drawn(
    values: Floats, shapes: npt.NDArray[np.float64], draws: npt.NDArray[np.float64]
) -> Ids:
    """Which of its ranked logits each row draws, shape (rows,).

    Args:
        values: logits, largest first, shape (rows, k).
        shapes: ``RowSampler.shape`` of each row.
        draws: random numbers in [0, 1).
    """
    top, top_p, log_min_p, temperature = shapes.T[:, :, None]
    below = values.astype(np.float64) - values[:, :1]
    keep = (np.arange(values.shape[1]) < top) & (below >= log_min_p)
    if np.isfinite(top_p).any():
        mass = (np.exp(below) * (np.arange(values.shape[1]) < top)).cumsum(1)
        keep[:, 1:] &= mass[:, :-1] < top_p * mass[:, -1:]
    weights = (np.exp(below / temperature) * keep).cumsum(1)
    passed = np.count_nonzero(weights <= draws[:, None] * weights[:, -1:], axis=1)
    ranks: Ids = np.minimum(passed, values.shape[1] - 1)
    return ranks
