"""What would end the process inside llama.cpp is refused in Python, without the library."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trillama.base.errors import BadRequest, EngineError, ModelLoadError
from trillama.base.options import Options
from trillama.engine import guards
from trillama.engine.base import ContextLimits, ContextParams
from trillama.engine.guards import GuardedBatch

LIMITS = ContextLimits(
    cells=256, sequence_cells=256, sequences=4, batch=16, micro_batch=8, outputs=4, can_shift=True
)  # fmt: skip
N_VOCAB = 100


def batch_of(*rows: tuple[int, int, int]) -> GuardedBatch:
    """A batch of (token, position, sequence) rows that all want logits."""
    batch = GuardedBatch(32)
    batch.add_heads(*(list(column) for column in zip(*rows, strict=True)))
    return batch


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((100, 0, 0), "token 100 in row 1"),
        ((-1, 0, 0), "token -1 in row 1"),
        ((5, 256, 0), "position 256 in row 1"),
        ((5, -1, 0), "position -1 in row 1"),
        ((5, 2**31 - 1, 0), "position 2147483647 in row 1"),
        ((5, 0, 4), "sequence 4 in row 1"),
        ((5, 0, -1), "sequence -1 in row 1"),
    ],
)
def test_a_row_out_of_range_is_refused_by_name(row, words):
    """The message names the number and the row, so that the scheduler's mistake can be found."""
    with pytest.raises(EngineError, match=words):
        batch_of((99, 255, 3), row).check(LIMITS, N_VOCAB)


def test_rows_at_the_ends_of_all_ranges_pass():
    """The first and the last allowed values are allowed, and the rows with logits are counted."""
    batch = batch_of((0, 0, 0), (99, 255, 3))
    batch.add_run(1, 0, np.zeros(3, np.int32))
    assert batch.check(LIMITS, N_VOCAB) == 2


def test_rows_left_from_an_earlier_use_do_not_count():
    """Only rows in use are looked at."""
    batch = batch_of((5, 0, 0), (-7, -7, -7))
    batch.clear()
    batch.add_heads([5], [0], [0])
    assert batch.check(LIMITS, N_VOCAB) == 1


@pytest.mark.parametrize("size", [0, 17])
def test_empty_and_overfull_batches_are_refused(size):
    """A batch has one row at least and the context's number at most."""
    batch = GuardedBatch(32)
    batch.add_run(0, 0, np.zeros(size, np.int32))
    with pytest.raises(EngineError, match=f"a batch of {size} rows"):
        batch.check(LIMITS, N_VOCAB)


def test_too_many_rows_of_logits_are_refused():
    """More rows of logits than the context reserved would fail an assertion."""
    with pytest.raises(EngineError, match="5 rows want logits, at most 4"):
        batch_of(*[(1, position, 0) for position in range(5)]).check(LIMITS, N_VOCAB)


@pytest.mark.parametrize("sequence", [-1, 4, 999])
def test_unknown_sequences_are_refused(sequence):
    """Memory operations assert on ids outside their table."""
    with pytest.raises(EngineError, match=f"sequence {sequence} "):
        guards.check_sequence(sequence, LIMITS)


@pytest.mark.parametrize(
    ("start", "end", "held", "unified"),
    [(0, 5, 9, False), (2, 10, 9, False), (-1, 4, 9, True), (5, 4, 9, True)],
)
def test_impossible_copies_are_refused(start, end, held, unified):
    """Separate pools copy whole sequences only, and no range is negative."""
    with pytest.raises(EngineError):
        guards.check_copy(start, end, held, unified=unified)


def test_possible_copies_pass():
    """Any range in a unified pool, everything that is held between separate ones."""
    guards.check_copy(2, 5, 9, unified=True)
    guards.check_copy(0, 10, 9, unified=False)


@pytest.mark.parametrize(("start", "end", "delta"), [(5, 9, -6), (-1, 9, 1), (9, 5, 1)])
def test_impossible_shifts_are_refused(start, end, delta):
    """No position becomes negative, no range runs backwards."""
    with pytest.raises(EngineError, match="cannot move"):
        guards.check_shift(start, end, delta, LIMITS)


def test_shifting_a_memory_that_cannot_is_refused():
    """llama.cpp would abort at the next decode."""
    fixed = ContextLimits(
        cells=256,
        sequence_cells=256,
        sequences=4,
        batch=16,
        micro_batch=8,
        outputs=4,
        can_shift=False,
    )
    with pytest.raises(EngineError, match="cannot shift"):
        guards.check_shift(5, 9, -5, fixed)


@pytest.mark.parametrize(
    "params",
    [
        {"cells": 0},
        {"cells": 2**31},
        {"cells": 256, "sequences": 0},
        {"cells": 256, "sequences": 257},
        {"cells": 256, "batch": 0},
        {"cells": 256, "micro_batch": 0},
        {"cells": 256, "threads": -1},
        {"cells": 256, "cache_type_k": "q4_K"},
        {"cells": 256, "cache_type_v": "999"},
        {"cells": 256, "cache_type_v": "q8_0", "flash_attention": False},
    ],
)
def test_impossible_contexts_are_refused(params):
    """What no context can have is an error of the load, not an abort or a wild pointer."""
    with pytest.raises(ModelLoadError):
        guards.check_context(ContextParams(**params))


def test_contexts_are_raised_to_what_their_sequences_need():
    """The library asserts one row of a batch and one of logits per sequence."""
    safe = guards.check_context(
        ContextParams(cells=100, sequences=64, batch=8, micro_batch=512, outputs=1, threads=9999)
    )
    assert (safe.cells, safe.batch, safe.micro_batch, safe.outputs) == (256, 64, 64, 64)
    assert safe.threads == guards.MAX_THREADS


def test_every_number_of_sequences_fits_the_smallest_context():
    """256 sequences in one cell's worth of context are still safe."""
    safe = guards.check_context(ContextParams(cells=1, sequences=256, batch=1, micro_batch=1))
    assert safe.sequences <= min(safe.batch, safe.outputs, safe.cells)


def test_quantised_values_are_allowed_with_flash_attention():
    """The library turns flash attention on when it may choose."""
    for flash in (None, True):
        params = ContextParams(cells=256, cache_type_v="q8_0", flash_attention=flash)
        assert guards.check_context(params).cache_type_v == "q8_0"


def test_an_unnamed_cache_type_is_f16():
    """ "" is what an unset setting says."""
    assert guards.cache_type("") == guards.cache_type("f16") == 1


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": math.nan},
        {"top_p": math.inf},
        {"typical_p": math.nan},
        {"repeat_penalty": 0.0},
        {"repeat_penalty": math.nan},
        {"presence_penalty": -math.inf},
        {"logit_bias": ((100, 1.0),)},
        {"logit_bias": ((-1, 1.0),)},
        {"logit_bias": ((5, math.nan),)},
    ],
)
def test_options_that_poison_samplers_are_refused(options):
    """NaN, zero divisors and foreign tokens are the client's mistake, not an engine failure."""
    with pytest.raises(BadRequest):
        guards.check_options(Options(**options), N_VOCAB)


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_rows_with_broken_logits_are_refused(poison):
    """One value that is not finite above all others is enough."""
    row = np.zeros(N_VOCAB, np.float32)
    row[50] = poison
    with pytest.raises(EngineError, match="not finite"):
        guards.check_row(row, N_VOCAB)


def test_rows_without_an_allowed_token_are_refused():
    """A mask that forbids everything leaves nothing to draw from."""
    with pytest.raises(EngineError, match="no token is allowed"):
        guards.check_row(np.full(N_VOCAB, -np.inf, np.float32), N_VOCAB)


def test_rows_of_another_length_are_refused():
    """A row must have one logit per token."""
    with pytest.raises(EngineError, match=r"logits for 100 tokens"):
        guards.check_row(np.zeros(99, np.float32), N_VOCAB)
