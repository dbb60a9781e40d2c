"""LoRA adapters on real llama.cpp: applied as asked, apart from each other, checked once more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.decoding import TOLERANCE, distance, prefill, prompt
from tests.support.lora import make_lora
from tests.support.stepping import Stepped
from tests.support.tiny_random import TinyShape, make_tiny
from trillama.base.adapters import Adapter, Adapters
from trillama.base.errors import EngineError, ModelLoadError
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher
from trillama.engine.base import ContextParams, LoadParams
from trillama.engine.embedding import EmbeddingParams
from trillama.engine.llama import LlamaBackend, LlamaModel

PROMPT = "<|im_start|>user\nTell me about the sea.<|im_end|>\n<|im_start|>assistant\n"
EXACT = ContextParams(
    cells=2048, sequences=8, outputs=8, batch=512, threads=1,
    cache_type_k="f32", cache_type_v="f32", flash_attention=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> list[str]:
    """Two adapters for the bundled model."""
    folder = tmp_path_factory.mktemp("adapters")
    made = [make_lora(folder / f"{n}.gguf", tiny_model_path, seed=n, size=2.0) for n in range(2)]
    return list(map(str, made))


@pytest.fixture(scope="module")
def tiny(tiny_model_path: Path, paths: list[str]) -> Iterator[LlamaModel]:
    """The bundled model with both adapters."""
    model = LlamaBackend().load(str(tiny_model_path), LoadParams())
    for path in paths:
        model.load_adapter(path)
    yield model
    model.close()


def answers(model: LlamaModel, sets: list[Adapters], cancel: int | None = None) -> list[list[int]]:
    """Greedy tokens for one job of each set, all at once."""
    context = model.open_context(EXACT)
    run = Stepped(Batcher(context))
    words = model.vocabulary.tokenize(PROMPT)
    for number, adapters in enumerate(sets):
        options = Options(temperature=0, num_predict=40)
        run.batcher.submit(
            Job(id=str(number), prompt=words, options=options, limit=400, adapters=adapters)
        )
    while run.batcher.has_work:
        run.step()
        if cancel is not None and run.tokens[str(cancel)]:
            run.batcher.cancel(str(cancel))
    run.batcher.close()
    context.close()
    return [run.tokens[str(number)] for number in range(len(sets))]


def test_mixed_jobs_get_what_they_get_alone(tiny: LlamaModel, paths: list[str]) -> None:
    """No adapter, one, another, half of one, both: five texts, each as if nobody else were there;
    and the others' stay as they are when one of them is cancelled."""
    one, other = (Adapter(path) for path in paths)
    sets: list[Adapters] = [(), (one,), (other,), (Adapter(paths[0], 0.5),), (one, other)]
    alone = [answers(tiny, [adapters])[0] for adapters in sets]
    assert len({tuple(tokens) for tokens in alone}) == len(sets)
    assert answers(tiny, sets) == alone
    left = answers(tiny, sets, cancel=1)
    assert left[0:1] + left[2:] == alone[0:1] + alone[2:]
    assert left[1] == alone[1][: len(left[1])]


def test_an_adapter_adds_its_product_by_its_scale(
    tmp_path: Path, backend: LlamaBackend, tiny_random_path: Path
) -> None:
    """Half of a doubled adapter is the adapter; none of it, and the base after it, are the base."""
    single = str(make_lora(tmp_path / "single.gguf", tiny_random_path, size=0.2))
    double = str(make_lora(tmp_path / "double.gguf", tiny_random_path, size=0.4))
    model = backend.load(str(tiny_random_path), LoadParams())
    context = model.open_context(EXACT)
    base = prefill(context, 0, prompt(20))
    model.load_adapter(single)
    model.load_adapter(double)

    def row(*adapters: Adapter) -> np.ndarray:
        context.clear()
        context.set_adapters(adapters)
        return prefill(context, 0, prompt(20))

    adapted = row(Adapter(single))
    assert distance(adapted, base) > 100 * TOLERANCE
    assert distance(row(Adapter(double, 0.5)), adapted) < TOLERANCE
    assert distance(row(Adapter(single, 0.5), Adapter(double, 0.25)), adapted) < TOLERANCE
    assert distance(row(), base) == 0
    with pytest.raises(EngineError, match=r"none\.gguf is not loaded"):
        context.set_adapters((Adapter("none.gguf"),))
    model.close()


def test_vectors_are_computed_with_adapters(tiny: LlamaModel, paths: list[str]) -> None:
    """A context for vectors keeps the set it was opened with, beside another without."""
    inputs = [prompt(9), prompt(5)]
    rows = []
    for adapters in ((), (Adapter(paths[0]),)):
        context = tiny.open_embeddings(EmbeddingParams(adapters=adapters))
        rows.append(context.embed(inputs))
        np.testing.assert_array_equal(context.embed(inputs), rows[-1])
        context.close()
    assert np.abs(rows[0] - rows[1]).max() > 0.01


def test_what_belongs_to_other_weights_is_refused(tmp_path: Path, tiny: LlamaModel) -> None:
    """By the library's own check, beside those that are made before; a missing file likewise."""
    other = make_tiny(tmp_path / "other.gguf", TinyShape(width=32))
    stranger = make_lora(tmp_path / "stranger.gguf", other)
    for path in (str(stranger), str(tmp_path / "none.gguf")):
        with pytest.raises(ModelLoadError):
            tiny.load_adapter(path)
