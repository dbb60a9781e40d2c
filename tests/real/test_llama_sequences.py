"""Sequences in llama.cpp's memory: sharing, cutting, moving, forgetting."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.decoding import TOLERANCE, distance, prefill, prompt, step
from trillama.base.errors import EngineError


@pytest.mark.parametrize("shared", [100, 60])
def test_a_shared_prefix_equals_a_fresh_prefill(open_context, shared):
    """Continuing from shared cells gives the logits of computing the same tokens anew."""
    context, fresh = open_context(), open_context()
    prefill(context, 0, prompt(100))
    context.seq_copy(0, 3, 0, shared)
    assert context.seq_pos_max(3) == shared - 1
    continued = step(context, [(8, shared, 3)])[0]
    whole = np.append(prompt(100)[:shared], np.int32(8))
    assert distance(continued, prefill(fresh, 0, whole)) < TOLERANCE
    whole[shared // 2] += 1
    assert distance(continued, prefill(fresh, 1, whole)) > 0.05


def test_shared_cells_outlive_their_donor(open_context):
    """Removing the sequence that computed a prefix leaves it to the others."""
    context, fresh = open_context(), open_context()
    prefill(context, 0, prompt(100))
    context.seq_copy(0, 1, 0, 100)
    assert context.seq_remove(0)
    assert (context.seq_pos_max(0), context.seq_pos_max(1)) == (-1, 99)
    prefill(context, 2, prompt(90, 2))
    continued = step(context, [(8, 100, 1)])[0]
    whole = np.append(prompt(100), np.int32(8))
    assert distance(continued, prefill(fresh, 0, whole)) < TOLERANCE


def test_sharing_costs_no_cells(open_context):
    """Eight sequences on one prefix leave the rest of the pool free."""
    context = open_context(cells=256)
    prefill(context, 0, prompt(200))
    for target in range(1, 8):
        context.seq_copy(0, target, 0, 200)
    rows = step(context, [(1 + sequence, 200, sequence) for sequence in range(8)])
    assert len({row.tobytes() for row in rows}) == 8


def test_a_cut_tail_can_be_written_again(open_context):
    """Dropping positions and decoding others equals never having decoded the first."""
    context, fresh = open_context(), open_context()
    prefill(context, 0, prompt(80))
    assert context.seq_remove(0, 50)
    assert context.seq_pos_max(0) == 49
    whole = np.concatenate([prompt(50), prompt(20, 4)])
    rewritten = prefill(context, 0, prompt(20, 4), 50)
    assert distance(rewritten, prefill(fresh, 0, whole)) < TOLERANCE


def test_a_shift_moves_what_follows(context):
    """After dropping the middle and moving the rest, the next position is one behind the last."""
    prefill(context, 0, prompt(100))
    assert context.seq_remove(0, 10, 40)
    assert context.seq_pos_max(0) == 99
    context.seq_shift(0, 40, 100, -30)
    assert context.seq_pos_max(0) == 69
    assert np.isfinite(step(context, [(5, 70, 0)])).all()


def test_a_shift_leaves_other_sequences_alone(open_context):
    """A neighbour's logits do not change when a sequence is moved."""
    context, fresh = open_context(), open_context()
    prefill(context, 0, prompt(60))
    prefill(context, 1, prompt(60, 1))
    context.seq_remove(0, 5, 25)
    context.seq_shift(0, 25, 60, -20)
    continued = step(context, [(2, 40, 0), (2, 60, 1)])[1]
    assert distance(continued, prefill(fresh, 0, np.append(prompt(60, 1), np.int32(2)))) < TOLERANCE


def test_clearing_forgets_everything(open_context):
    """Nothing of what was decoded before a clear shows in what comes after."""
    context, fresh = open_context(), open_context()
    for sequence in range(4):
        prefill(context, sequence, prompt(50, sequence))
    context.clear()
    assert [context.seq_pos_max(sequence) for sequence in range(4)] == [-1] * 4
    assert distance(prefill(context, 2, prompt(9)), prefill(fresh, 2, prompt(9))) < TOLERANCE


def test_separate_pools_copy_whole_sequences(open_context):
    """Without a unified pool a whole sequence can be copied, and a part is refused."""
    context = open_context(unified=False, sequences=4)
    fresh = open_context()
    prefill(context, 0, prompt(40))
    context.seq_copy(0, 1, 0, 40)
    assert context.seq_pos_max(1) == 39
    continued = step(context, [(8, 40, 1)])[0]
    assert distance(continued, prefill(fresh, 0, np.append(prompt(40), np.int32(8)))) < TOLERANCE
    with pytest.raises(EngineError, match="only be shared in a unified cache"):
        context.seq_copy(0, 2, 0, 20)


@pytest.mark.parametrize("saved", [0, 1])
def test_an_image_is_right_beside_copies_that_wait(open_context, saved):
    """The library copies between separate cells as it decodes; images are not too early for it."""
    context, fresh = open_context(unified=False), open_context()
    for sequence in range(3):
        prefill(context, sequence, prompt(60, sequence))
    image = context.save(2)
    context.seq_copy(0, 1, 0, 60)  # waits
    copied = context.save(1) if saved else None
    context.seq_remove(0)
    assert context.restore(0, image)
    if copied is not None:
        context.seq_remove(1)
        assert context.restore(1, copied)
    rows = step(context, [(8, 60, 0), (8, 60, 1)])
    for row, salt in zip(rows, (2, 0), strict=True):
        whole = np.append(prompt(60, salt), np.int32(8))
        assert distance(row, prefill(fresh, salt, whole)) < TOLERANCE
