"""Wrong calls end in our errors before the library is asked, and the context goes on working."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.support.decoding import prefill, prompt, step
from trillama.base.errors import EngineError
from trillama.base.options import Options
from trillama.engine import chains
from trillama.engine.llama import LlamaContext


def decode_rows(context: LlamaContext, *rows: tuple[int, int, int]) -> None:
    batch = context.new_batch()
    batch.add_heads(*(list(column) for column in zip(*rows, strict=True)))
    context.decode(batch)


def decode_run(context: LlamaContext, length: int) -> None:
    batch = context.new_batch()
    batch.size = length
    context.decode(batch)


WRONG_CALLS: dict[str, Callable[[LlamaContext], object]] = {
    "no rows": lambda context: decode_run(context, 0),
    "more rows than a batch": lambda context: decode_run(context, 513),
    "more logits than reserved": lambda context: decode_rows(
        context, *[(1, position, 0) for position in range(9)]
    ),
    "token beyond the vocabulary": lambda context: decode_rows(context, (273, 0, 0)),
    "negative token": lambda context: decode_rows(context, (-1, 0, 0)),
    "sequence beyond the table": lambda context: decode_rows(context, (1, 0, 8)),
    "position beyond the pool": lambda context: decode_rows(context, (1, 2**31 - 1, 0)),
    "remove from a sequence beyond the table": lambda context: context.seq_remove(999),
    "remove from all sequences": lambda context: context.seq_remove(-1),
    "copy from a sequence beyond the table": lambda context: context.seq_copy(999, 0, 0, 1),
    "copy to a sequence beyond the table": lambda context: context.seq_copy(0, 8, 0, 1),
    "position of a sequence beyond the table": lambda context: context.seq_pos_max(8),
    "shift of a sequence beyond the table": lambda context: context.seq_shift(8, 0, 1, 1),
    "shift below position 0": lambda context: context.seq_shift(0, 1, 2, -2),
}


@pytest.mark.parametrize("wrong", WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_a_wrong_call_is_an_error_and_changes_nothing(context, wrong):
    """The error is ours, the process lives, the sequences are as they were."""
    prefill(context, 0, prompt(10))
    with pytest.raises(EngineError):
        wrong(context)
    assert [context.seq_pos_max(sequence) for sequence in range(8)] == [9] + [-1] * 7
    assert np.isfinite(step(context, [(1, 10, 0)])).all()


def test_a_part_of_a_sequence_stays_in_its_pool(open_context):
    """Between separate pools the library would abort on a partial copy."""
    context = open_context(unified=False, sequences=4)
    prefill(context, 0, prompt(10))
    with pytest.raises(EngineError, match="unified"):
        context.seq_copy(0, 1, 0, 5)


@pytest.mark.parametrize(
    ("function", "options"),
    [
        ("llama_sampler_init_top_k", Options(top_k=5)),
        ("llama_sampler_init_typical", Options(typical_p=0.5)),
        ("llama_sampler_init_dist", Options()),
        ("llama_sampler_chain_init", Options()),
    ],
)
def test_a_sampler_that_cannot_be_made_is_an_error(context, monkeypatch, function, options):
    """NULL in a chain would be called; here it ends the one request."""
    monkeypatch.setattr(chains.lib, function, lambda *_: None)
    with pytest.raises(EngineError, match="could not make"):
        context.new_chain(options, prompt(3))


@pytest.mark.parametrize(
    "call",
    [
        lambda context, batch: context.decode(batch),
        lambda context, batch: context.logits(),
        lambda context, batch: context.clear(),
        lambda context, batch: context.seq_remove(0),
        lambda context, batch: context.seq_copy(0, 1, 0, 1),
        lambda context, batch: context.seq_pos_max(0),
    ],
)
def test_a_closed_context_refuses_everything(context, call):
    """A freed pointer is never handed to the library."""
    batch = context.new_batch()
    batch.add_heads([1], [0], [0])
    context.close()
    with pytest.raises(EngineError, match="closed"):
        call(context, batch)
    context.interrupt()
