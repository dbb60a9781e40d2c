"""Models of bench/make_model.py in llama.cpp: prompts count as promised, and nothing ends early."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.load import Load
from bench.make_model import ModelShape, write_model
from bench.vocabulary import build_vocabulary
from tests.support.decoding import prefill
from trillama.engine.base import ContextParams, LoadParams
from trillama.engine.llama import LlamaBackend, LlamaModel

VOCAB = 1100
SHAPE = ModelShape(layers=4, dim=64, ffn=96, heads=4, kv_heads=2, vocab=VOCAB, ctx=512)


@pytest.fixture(scope="module", params=["F16", "Q4_0"])
def bench_model(
    request: pytest.FixtureRequest, backend: LlamaBackend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LlamaModel]:
    path: Path = tmp_path_factory.mktemp("bench") / "m.gguf"
    write_model(path, SHAPE, request.param, seed=5)
    model = backend.load(str(path), LoadParams())
    yield model
    model.close()


def test_a_prompt_has_the_tokens_it_promises(bench_model: LlamaModel) -> None:
    """llama.cpp's tokenizer makes one token of each word of a prompt, for any request."""
    load = Load(clients=1, prompt_tokens=60, new_tokens=1, requests=1, shared_prefix=20)

    for index in range(20):
        assert len(bench_model.vocabulary.tokenize(load.prompt(index))) == 80


def test_a_random_model_does_not_end_by_itself(bench_model: LlamaModel) -> None:
    """After any position, tokens that end, control or break text are hopelessly far behind."""
    vocab = build_vocabulary(VOCAB)
    context = bench_model.open_context(ContextParams(cells=512, sequences=1, outputs=1))
    rng = np.random.default_rng(0)
    for _ in range(12):
        context.clear()
        tokens = rng.integers(vocab.first_word, vocab.first_special, 40, dtype=np.int32)
        row = prefill(context, 0, tokens)

        others = np.delete(row, np.arange(vocab.first_word, vocab.first_special))
        best = np.sort(row[vocab.first_word : vocab.first_special])[-40:]
        assert np.isfinite(row).all()
        assert others.max() < best.min() - 15
    context.close()


def test_the_end_token_is_known_to_the_library(bench_model: LlamaModel) -> None:
    """The tokens that are held down are the very ones that would end a generation."""
    vocab = build_vocabulary(VOCAB)
    ends = np.flatnonzero(bench_model.vocabulary.is_eog)

    assert vocab.eos_id in ends
    assert (ends >= vocab.first_special).all()
