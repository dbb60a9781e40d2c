"""Decoding with llama.cpp: rows, return codes, logits, interruption."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.support.decoding import (
    TOLERANCE,
    USUAL_TOLERANCE,
    distance,
    prefill,
    prompt,
    step,
    try_prefill,
)
from tests.support.tiny_random import TinyShape, make_tiny
from trillama.base.errors import EngineError, ModelLoadError
from trillama.engine.base import Batch, ContextParams, DecodeStatus, LoadParams
from trillama.engine.warmup import warm_up

USUAL = {"cache_type_k": "f16", "cache_type_v": "f16", "flash_attention": None}


@pytest.mark.parametrize(("params", "tolerance"), [({}, TOLERANCE), (USUAL, USUAL_TOLERANCE)])
def test_rows_decoded_together_equal_rows_decoded_alone(open_context, params, tolerance):
    """Sequences in one batch get the logits each of them gets in a batch of its own."""
    together, alone = open_context(**params), open_context(**params)
    lengths = [5, 40, 17, 80]
    for sequence, length in enumerate(lengths):
        prefill(together, sequence, prompt(length, sequence))
    rows = step(together, [(9, length, sequence) for sequence, length in enumerate(lengths)])
    for sequence, length in enumerate(lengths):
        alone.clear()
        tokens = np.append(prompt(length, sequence), np.int32(9))
        assert distance(rows[sequence], prefill(alone, 0, tokens)) < tolerance


def test_a_prefill_and_single_rows_share_a_batch(open_context):
    """A prompt chunk beside a next token changes the logits of neither."""
    context, fresh = open_context(), open_context()
    prefill(context, 0, prompt(30))
    batch = context.new_batch()
    batch.add_heads([7], [30], [0])
    batch.add_run(1, 0, prompt(200, 1))
    batch.want_last()
    assert context.decode(batch) is DecodeStatus.OK
    rows = context.logits().copy()
    assert rows.shape == (2, context.vocabulary.size)
    assert distance(rows[0], prefill(fresh, 0, np.append(prompt(30), np.int32(7)))) < TOLERANCE
    assert distance(rows[1], prefill(fresh, 1, prompt(200, 1))) < TOLERANCE


def test_a_prompt_in_chunks_equals_the_whole_prompt(open_context):
    """Chunks without logits leave the memory as one prefill does."""
    context, fresh = open_context(), open_context()
    tokens, batch = prompt(300), context.new_batch()
    batch.add_run(0, 0, tokens[:170])
    assert batch.outputs == 0
    assert context.decode(batch) is DecodeStatus.OK
    assert context.logits().shape == (0, context.vocabulary.size)
    assert distance(prefill(context, 0, tokens[170:], 170), prefill(fresh, 0, tokens)) < TOLERANCE


def test_logits_come_in_the_order_of_the_batch(context):
    """The order of rows is the order in which they were added, whatever the sequence ids."""
    for sequence in range(4):
        prefill(context, sequence, prompt(10 + sequence, sequence))
    order = [3, 0, 2, 1]
    rows = step(context, [(1, 10 + sequence, sequence) for sequence in order])
    for sequence in range(4):
        context.seq_remove(sequence, 10 + sequence)
    for row, sequence in zip(rows, order, strict=True):
        assert distance(row, step(context, [(1, 10 + sequence, sequence)])[0]) < TOLERANCE


def test_logits_can_be_changed_in_place(context):
    """Penalties write into the view; a later look at the same decode shows what was written."""
    prefill(context, 0, prompt(4))
    context.logits()[0, 7] = -1234.0
    assert context.logits()[0, 7] == -1234.0


def test_a_full_pool_changes_nothing(open_context):
    """NO_ROOM leaves every sequence as it was, and what fits still decodes."""
    context, fresh = open_context(cells=256), open_context()
    prefill(context, 0, prompt(200))
    assert try_prefill(context, 1, prompt(100, 1)) is DecodeStatus.NO_ROOM
    assert context.logits().shape[0] == 0
    assert (context.seq_pos_max(0), context.seq_pos_max(1)) == (199, -1)
    small = prompt(40, 1)
    assert distance(prefill(context, 1, small), prefill(fresh, 1, small)) < TOLERANCE
    continued = step(context, [(3, 200, 0)])[0]
    assert distance(continued, prefill(fresh, 0, np.append(prompt(200), np.int32(3)))) < TOLERANCE


def test_positions_that_do_not_continue_are_invalid(context):
    """A gap and a repetition are refused by the library, which changes nothing."""
    prefill(context, 0, prompt(10))
    for start in (9, 12):
        assert try_prefill(context, 0, prompt(3), start) is DecodeStatus.INVALID
    assert context.seq_pos_max(0) == 9


def test_an_interrupt_stops_a_decode_and_it_goes_on_from_there(open_context):
    """After INTERRUPTED the positions held are whole, and decoding the rest gives equal logits."""
    context = open_context(cells=2048, batch=2048, micro_batch=64)
    fresh = open_context(cells=2048, batch=2048, micro_batch=64)
    tokens, begun = prompt(2000), threading.Event()

    def stop() -> None:
        begun.wait()
        context.interrupt()

    stopper = threading.Thread(target=stop)
    stopper.start()
    begun.set()
    status = try_prefill(context, 0, tokens)
    stopper.join()
    assert status is DecodeStatus.INTERRUPTED
    held = context.seq_pos_max(0) + 1
    assert held % 64 == 0
    assert held < len(tokens)
    rest = prefill(context, 0, tokens[held:], held)
    assert distance(rest, prefill(fresh, 0, tokens)) < TOLERANCE


def test_an_interrupt_between_decodes_stops_the_next_one_only(context):
    """An interrupt that comes too early is not lost, and counts once."""
    context.interrupt()
    assert try_prefill(context, 0, prompt(5)) is DecodeStatus.INTERRUPTED
    assert context.seq_pos_max(0) == -1
    assert try_prefill(context, 0, prompt(5)) is DecodeStatus.OK


def test_a_batch_of_another_engine_is_refused(context):
    """Arrays without pointers hung on them are not read."""
    batch = Batch(8)
    batch.add_heads([1], [0], [0])
    with pytest.raises(EngineError, match="not made by this engine"):
        context.decode(batch)


def test_limits_are_those_of_the_library(open_context):
    """Cells are rounded up, and sequences never outnumber rows of a batch or of logits."""
    limits = open_context(cells=300, sequences=32, batch=4, micro_batch=512, outputs=1).limits
    assert (limits.cells, limits.sequences) == (512, 32)
    assert (limits.batch, limits.micro_batch, limits.outputs) == (32, 32, 32)
    assert limits.can_shift


@pytest.mark.parametrize(("cells", "sequences", "unified"), [(1, 256, True), (64, 8, False)])
def test_contexts_smaller_than_their_sequences_open(open_context, cells, sequences, unified):
    """The smallest pools do not end the process in the library's constructor."""
    context = open_context(cells=cells, sequences=sequences, batch=1, unified=unified)
    assert context.limits.sequences == sequences
    assert np.isfinite(prefill(context, sequences - 1, prompt(3))).all()


@pytest.mark.parametrize("kind", ["f32", "bf16", "q8_0", "q5_1", "q4_0", "iq4_nl"])
def test_every_cache_type_that_fits_is_allowed_or_refused_with_a_reason(model, kind):
    """Heads of 16 values hold no block of 32: the library's own words come through."""
    params = ContextParams(cells=256, cache_type_k=kind, cache_type_v=kind)
    if kind in ("f32", "bf16"):
        context = model.open_context(params)
        assert np.isfinite(prefill(context, 0, prompt(5))).all()
        context.close()
    else:
        with pytest.raises(ModelLoadError, match="block size"):
            model.open_context(params)


def test_quantised_cache_types_compute(backend, tmp_path):
    """With heads of 32 values each quantised type decodes to finite logits near those of f16."""
    path = make_tiny(tmp_path / "wide.gguf", TinyShape(width=64, heads=2))
    model = backend.load(str(path), LoadParams())
    exact = prefill(model.open_context(ContextParams(cells=256)), 0, prompt(20))
    for kind in ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"):
        context = model.open_context(ContextParams(cells=256, cache_type_k=kind, cache_type_v=kind))
        assert distance(prefill(context, 0, prompt(20)), exact) < 1.0, kind
    model.close()


def test_warming_up_leaves_the_context_empty(context):
    """After the warm-up no sequence holds a position."""
    warm_up(context, rows=4)
    assert [context.seq_pos_max(sequence) for sequence in range(8)] == [-1] * 8
