"""The k largest logits are those of a full sort, found without one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.logits import random_rows
from trillama.engine import topk
from trillama.engine.topk import Work, top_k


@given(
    rows=st.integers(1, 5),
    n_vocab=st.integers(1, 3000),
    k=st.integers(1, 256),
    levels=st.sampled_from([1, 3, 50, 10**6]),
    seed=st.integers(0, 10**6),
)
def test_top_k_equals_a_full_sort(rows: int, n_vocab: int, k: int, levels: int, seed: int) -> None:
    """Values and ids are those of sorting by logit and then id, however many are equal, zeros of
    either sign among them."""
    logits = np.round(random_rows(rows, n_vocab, seed) * levels / 10).astype(np.float32)
    before = logits.copy()
    values, ids, peaks = top_k(logits, k)
    expected = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    assert (ids == expected).all()
    assert (values == np.take_along_axis(logits, expected, 1)).all()
    assert peaks.tolist() == logits.max(1).tolist()
    assert (logits == before).all()


def test_top_k_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows are looked at a few at a time; the result is one."""
    logits = random_rows(11, 4000)
    whole = top_k(logits, 40)
    monkeypatch.setattr(topk, "_CHUNK_BYTES", 4 * 4000 * 3)
    for one, other in zip(whole, top_k(logits, 40), strict=True):
        assert np.array_equal(one, other)


def test_top_k_of_masked_rows() -> None:
    """Where nearly all is -inf the finite ones come first, wherever they are."""
    logits = np.full((3, 5000), -np.inf, np.float32)
    logits[0, [7, 4999]] = 1, 2
    logits[1, 2500] = -1e30
    values, ids, peaks = top_k(logits, 40)
    assert ids[0, :2].tolist() == [4999, 7]
    assert ids[1, 0] == 2500
    assert peaks.tolist() == [2, np.float32(-1e30), -np.inf]
    assert (values[:, 2:] == -np.inf).all()


@pytest.mark.parametrize("at", [0, 2400, 4999])
def test_a_nan_anywhere_shows_in_the_peak(at: int) -> None:
    """Also a negative one, and one beyond the last full stripe."""
    logits = random_rows(2, 5000)
    logits[1, at] = -np.float32(np.nan)
    assert np.isnan(top_k(logits, 40)[2]).tolist() == [False, True]


@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_rows_without_any_usable_logit(value: float) -> None:
    """Alone, with nobody else in the step, they are told by their maxima like any other."""
    values, ids, peaks = top_k(np.full((2, 100), value, np.float32), 7)

    assert values.shape == ids.shape == (2, 7)
    assert (values == -np.inf).all()
    assert not np.isfinite(peaks).any()


def test_more_rows_than_a_key_has_room_for_are_spread_too() -> None:
    """They are ranked in chunks; every row is looked at in parts, and no result changes."""
    logits = np.random.default_rng(8).standard_normal((150, 40_000)).astype(np.float32)
    looked: list[int] = []

    def spread(shape: tuple[int, ...], work: Work) -> None:
        half = shape[0] // 2
        for part in slice(0, half), slice(half, shape[0]):
            work(part)
        looked.append(shape[0])

    for one, other in zip(top_k(logits, 40, spread), top_k(logits, 40), strict=True):
        assert np.array_equal(one, other)
    assert sum(looked) == 150
    assert len(looked) > 1
