"""Among allowed tokens the draw is that of a row in which all others are impossible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trillama.base.options import Options
from trillama.engine.grammar.resample import allowed, draw_allowed, forbid
from trillama.engine.sampling import RowSampler, sample_rows

PROMPT = np.arange(5, dtype=np.int32)
KINDS = (
    Options(temperature=0),
    Options(seed=3),
    Options(temperature=2, top_k=200, top_p=1, seed=4),
    Options(min_p=0.2, top_k=7, seed=5),
)


def mask_of(ids: list[int], n_vocab: int) -> np.ndarray:
    bits = np.zeros(-(-n_vocab // 32) * 32, np.uint8)
    bits[ids] = 1
    return np.packbits(bits, bitorder="little").view(np.uint32)


@given(st.integers(33, 700), st.integers(0, 2**32 - 1), st.floats(0.01, 1))
def test_a_draw_among_few_is_a_draw_among_all_with_the_others_at_minus_infinity(
    n_vocab: int, seed: int, share: float
) -> None:
    """For every kind of sampler, ties included."""
    rng = np.random.default_rng(seed)
    logits = np.round(rng.standard_normal((len(KINDS), n_vocab)) * 3).astype(np.float32)
    masks = [mask_of(np.flatnonzero(rng.random(n_vocab) < share).tolist(), n_vocab) for _ in KINDS]
    whole = logits.copy()
    for row, mask in zip(whole, masks, strict=True):
        forbid(row, mask)

    expected = sample_rows(whole, [RowSampler(kind, PROMPT, n_vocab) for kind in KINDS]).tolist()
    samplers = [RowSampler(kind, PROMPT, n_vocab) for kind in KINDS]
    assert draw_allowed(logits, range(len(KINDS)), masks, samplers) == expected


def test_rows_and_masks_belong_together() -> None:
    """Any rows of a step, in any order."""
    logits = np.arange(3 * 64, dtype=np.float32).reshape(3, 64)
    masks = [mask_of([3, 9], 64), mask_of([60], 64)]
    samplers = [RowSampler(Options(temperature=0), PROMPT, 64)] * 2

    assert draw_allowed(logits, [2, 0], masks, samplers) == [9, 60]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_cannot_be_drawn_from_is_told(value: float) -> None:
    """No token allowed, or none with a usable logit."""
    logits = np.zeros((1, 64), np.float32)
    logits[0, 5] = value
    greedy = [RowSampler(Options(temperature=0), PROMPT, 64)]

    assert draw_allowed(logits, [0], [mask_of([], 64)], greedy) == [-1]
    assert draw_allowed(logits, [0], [mask_of([5, 6], 64)], greedy) == [-1]
    assert draw_allowed(logits, [0], [mask_of([6], 64)], greedy) == [6]


def test_padding_is_never_allowed() -> None:
    """The last word of a mask may reach past the vocabulary."""
    assert allowed(np.array([0xFFFF_FFFF] * 2, np.uint32), 40).tolist() == list(range(40))
