"""Rows that llama.cpp's graph ranks: exactly the best of what it hands out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.make_model import ModelShape, write_model
from tests.support.decoding import prompt, step
from tests.support.stepping import Stepped
from trillama.base.errors import EngineError
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher
from trillama.engine.base import RANKS, ContextParams, DecodeStatus, LoadParams, Ranked
from trillama.engine.llama import LlamaContext, LlamaModel

APART = {"cells": 8 * 256, "unified": False}


def wide(folder: Path, n_vocab: int) -> Path:
    """A model of hardly more than words."""
    path = folder / "wide.gguf"
    write_model(path, ModelShape(1, 64, 64, 2, 2, n_vocab, 2048), "Q8_0", seed=0)
    return path


def ranking(context: LlamaContext) -> LlamaContext:
    """The context, which ranks on this CPU as it would on a GPU."""
    context.rank_in_graph(anywhere=True)
    assert context.limits.ranks
    return context


def begin(context: LlamaContext, sequences: int) -> None:
    """Prompts of different lengths, no rows wanted."""
    for sequence in range(sequences):
        batch = context.new_batch()
        batch.add_run(sequence, 0, prompt(9 + 5 * sequence, sequence))
        assert context.decode(batch) is DecodeStatus.OK


def rows_of(sequences: int) -> list[tuple[int, int, int]]:
    return [(7 + sequence, 9 + 5 * sequence, sequence) for sequence in range(sequences)]


def decode(context: LlamaContext, sequences: int) -> Ranked:
    tokens, positions, ids = (list(c) for c in zip(*rows_of(sequences), strict=True))
    batch = context.new_batch()
    batch.add_heads(tokens, positions, ids)
    assert context.decode(batch) is DecodeStatus.OK
    ranked = context.ranked()
    assert ranked is not None
    return ranked


def assert_ranks(ranked: Ranked, logits: np.ndarray) -> None:
    best = -np.sort(-logits, axis=1)[:, :RANKS]
    assert ranked.logits == pytest.approx(best, abs=1e-5)
    assert np.take_along_axis(logits, ranked.ids, 1) == pytest.approx(best, abs=1e-5)
    assert all(len(set(ids)) == RANKS for ids in ranked.ids.tolist())


@pytest.mark.parametrize("params", [{}, APART])
@pytest.mark.parametrize("sequences", [1, 2, 7])
def test_the_best_of_each_row_come_in_order(open_context, params, sequences):
    """In one pool and in cells of their own, one row and several."""
    whole, ranked = open_context(**params), ranking(open_context(**params))
    for context in (whole, ranked):
        begin(context, sequences)
    assert_ranks(decode(ranked, sequences), step(whole, rows_of(sequences)))


def test_ranking_changes_no_row(open_context):
    """Whole rows are handed out beside the ranks, the very same ones."""
    whole, ranked = open_context(), ranking(open_context())
    for context in (whole, ranked):
        begin(context, 3)
    assert_ranks(decode(ranked, 3), step(whole, rows_of(3)))
    assert np.array_equal(ranked.logits(), whole.logits())


def test_rows_of_several_executions_are_not_ranked(open_context):
    """A prompt beside those who generate is computed apart; ranks of its row alone are none."""
    context = ranking(open_context(**APART))
    begin(context, 3)
    assert context.ranked() is None
    batch = context.new_batch()
    batch.add_heads([7, 8, 9], [9, 14, 19], [0, 1, 2])
    batch.add_run(5, 0, prompt(200, 5))
    batch.want_last()
    assert context.decode(batch) is DecodeStatus.OK
    assert context.ranked() is None
    assert len(context.logits()) == 4


def test_ranks_follow_a_changing_company(open_context):
    """Whoever comes or goes, the ranks are those of the latest rows, reused graphs among them."""
    whole, ranked = open_context(**APART), ranking(open_context(**APART))
    for context in (whole, ranked):
        begin(context, 6)
    lengths = [9 + 5 * sequence for sequence in range(6)]
    for company in ([0, 1, 2, 3], [0, 1, 2, 3], [2, 3], [2, 3, 4, 5], [5], [5], [0, 1, 2, 3, 4, 5]):
        rows = [(3 * sequence + 1, lengths[sequence], sequence) for sequence in company]
        for sequence in company:
            lengths[sequence] += 1
        expected = step(whole, rows)
        step(ranked, rows)
        found = ranked.ranked()
        assert found is not None
        assert_ranks(found, expected)


def test_a_long_row_is_narrowed_down_twice(backend, tmp_path):
    """The vocabulary of a real model's size, on weights of no size."""
    model = backend.load(str(wide(tmp_path, 32_000)), LoadParams())
    params = ContextParams(cells=256, sequences=4, outputs=4, threads=1)
    whole, ranked = model.open_context(params), ranking(model.open_context(params))
    for context in (whole, ranked):
        begin(context, 2)
    assert_ranks(decode(ranked, 2), step(whole, rows_of(2)))
    model.close()


def test_a_context_on_the_cpu_hands_out_its_rows(context):
    """They are there already; so nothing is ranked unasked."""
    assert not context.limits.ranks
    step(context, [(7, 0, 0)])
    assert context.ranked() is None


def test_a_row_that_cannot_be_cut_is_handed_out(backend, tmp_path):
    """A prime number of tokens has no blocks."""
    model = backend.load(str(wide(tmp_path, 4099)), LoadParams())
    context = model.open_context(ContextParams(cells=256, sequences=2, outputs=2, threads=1))
    context.rank_in_graph(anywhere=True)
    assert not context.limits.ranks
    model.close()


def test_a_closed_context_ranks_no_more(open_context):
    """It says so; closing twice does no harm."""
    context = ranking(open_context())
    step(context, [(7, 0, 0)])
    assert context.ranked() is not None
    context.close()
    context.close()
    with pytest.raises(EngineError):
        context.ranked()


@pytest.mark.parametrize("streams", [0, 8])
def test_answers_are_those_of_whole_rows(tiny: LlamaModel, streams: int) -> None:
    """The bundled model says the same, whoever ranks, while neighbours come and go."""
    answers = []
    for ranks in (False, True):
        context = tiny.open_context(ContextParams(cells=512, streams=streams, outputs=8, threads=1))
        if ranks:
            context.rank_in_graph(anywhere=True)
        loop = Stepped(Batcher(context))
        for number in range(12):
            text = f"<|im_start|>user\nSay {number} things about Paris<|im_end|>\n"
            options = Options(num_predict=6 + number, seed=number, temperature=number % 3)
            tokens = context.vocabulary.tokenize(text)
            job = Job(id=str(number), prompt=tokens, options=options, limit=400)
            loop.batcher.submit(job)
        loop.run()
        answers.append(dict(loop.tokens))
        loop.batcher.close()
        context.close()
    assert answers[0] == answers[1]
    assert len(answers[0]) == 12


def test_a_library_that_takes_no_sampler_hands_out_rows(open_context, monkeypatch):
    """It refuses where tensors are split among devices, say; the context opens all the same."""
    context = open_context()
    monkeypatch.setattr("trillama.engine.graph_ranks.lib.llama_set_sampler", lambda *_: False)
    context.rank_in_graph(anywhere=True)
    assert not context.limits.ranks
    assert len(step(context, [(7, 0, 0)])) == 1
