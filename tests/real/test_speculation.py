"""Guesses on real llama.cpp: a model that repeats its prompt says the same without them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.make_model import ModelShape, write_model
from tests.support.guessing import every_guess
from tests.support.stepping import Stepped
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher, Policy
from trillama.engine.base import ContextParams, LoadParams
from trillama.engine.draft_model import DraftModel, check_draft, draft_params
from trillama.engine.llama import LlamaBackend, LlamaModel
from trillama.seats import Seat, speculation

SHAPE = ModelShape(layers=3, dim=256, ffn=256, heads=4, kv_heads=2, vocab=1100, ctx=4096)
WORDS = [f" {one}{two}" for one in "abcdefghijklmnopqrstuvwxyz" for two in "acegikmoqsuwy"]


@pytest.fixture(scope="module")
def copycat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    """A small model with an induction circuit."""
    path: Path = tmp_path_factory.mktemp("copycat") / "copies.gguf"
    write_model(path, SHAPE, "Q8_0", seed=1, copies=True)
    model = LlamaBackend().load(str(path), LoadParams())
    yield model
    model.close()


def words(seed: int, count: int = 90) -> str:
    return "".join(random.Random(seed).sample(WORDS, count))


def ask(run: Stepped, model: LlamaModel, seed: int, options: Options) -> None:
    """Have a text repeated from its second word on."""
    text = words(seed)
    prompt = model.vocabulary.tokenize(f"Copy:{text}\n{text[:3]}")
    run.batcher.submit(Job(id=str(seed), prompt=prompt, options=options, limit=512))


def said(run: Stepped, model: LlamaModel, seed: int) -> str:
    return b"".join(model.vocabulary.pieces[token] for token in run.tokens[str(seed)]).decode()


@pytest.mark.parametrize("layout", ["one pool", "flash attention", "streams", "quantised"])
@pytest.mark.parametrize("answers", [1, 4])
def test_answers_are_the_same_with_guesses(
    copycat: LlamaModel, monkeypatch: pytest.MonkeyPatch, layout: str, answers: int
) -> None:
    """Greedy and drawn ones, in every layout; a lone copy takes a fraction of the steps."""
    monkeypatch.setattr(speculation, "share_out", every_guess)
    how = {
        "one pool": {"flash_attention": False},
        "flash attention": {"flash_attention": True},
        "streams": {"streams": 4, "unified": False},
        "quantised": {"flash_attention": True, "cache_type_k": "q8_0", "cache_type_v": "q8_0"},
    }[layout]
    params = ContextParams(cells=2048, sequences=8, outputs=64, batch=512, threads=1, **how)  # type: ignore[arg-type]
    heard, steps = [], []
    for on in (False, True):
        context = copycat.open_context(params)
        run = Stepped(Batcher(context, Policy(speculation=on)))
        for seed in range(answers):
            heat = 0.7 * (seed % 2)
            ask(run, copycat, seed, Options(temperature=heat, seed=seed, num_predict=80))
        run.run()
        heard.append([said(run, copycat, seed) for seed in range(answers)])
        steps.append(run.batcher.statistics())
        run.batcher.close()
        context.close()
    assert heard[0] == heard[1]
    assert heard[0] == [words(seed)[3 : 3 + 240] for seed in range(answers)]
    if layout != "streams" or answers == 1:
        assert steps[1].accepted > 50 * answers
        assert steps[1].steps < steps[0].steps / 3


def test_a_smaller_model_guesses_for_a_larger_one(
    copycat: LlamaModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another copy of the circuit with fewer layers says what the larger one says next."""
    monkeypatch.setattr(speculation, "share_out", every_guess)
    monkeypatch.setattr(speculation.PromptLookup, "propose", lambda lookup, most: [])
    write_model(tmp_path / "small.gguf", replace(SHAPE, layers=2), "Q8_0", seed=1, copies=True)
    small = LlamaBackend().load(str(tmp_path / "small.gguf"), LoadParams())
    check_draft(copycat, small)
    params = ContextParams(cells=2048, sequences=8, outputs=64, batch=512, threads=1)
    context, beside = copycat.open_context(params), small.open_context(draft_params(params))
    run = Stepped(Batcher(context, Policy(), draft=DraftModel[Seat](beside)))
    for seed in range(2):
        ask(run, copycat, seed, Options(temperature=0, num_predict=80))
    run.run()
    assert [said(run, copycat, seed) for seed in range(2)] == [words(n)[3:243] for n in range(2)]
    statistics = run.batcher.statistics()
    assert statistics.accepted > 120
    assert statistics.steps < 30
    run.batcher.close()
    context.close()
    small.close()
