"""Vectors of a real sentence embedder: those of sentence-transformers, alone or together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.minilm import PAIRS, Reference, checkpoint, texts
from trillama.engine.base import LoadParams
from trillama.engine.embedding import EmbeddingParams
from trillama.engine.llama import LlamaBackend
from trillama.models.convert import convert
from trillama.models.validation import validate_weights
from trillama.runners import lanes
from trillama.runners.embedder import Embedded, EmbeddingMachine


class Embedding:
    """MiniLM in a context; texts to vectors of length 1."""

    def __init__(self, path: Path) -> None:
        validate_weights(path)
        self.model = LlamaBackend().load(str(path), LoadParams())
        self.context = self.model.open_embeddings(EmbeddingParams(threads=1))
        self._known: dict[str, Any] = {}

    def tokens(self, text: str) -> Any:
        """As the server cuts: what stands behind the text stays."""
        found = self.model.vocabulary.tokenize(text)
        limit = self.context.limits.longest
        return found if len(found) <= limit else np.append(found[: limit - 1], found[-1:])

    def alone(self, text: str) -> Any:
        if text not in self._known:
            self._known[text] = unit(self.context.embed([self.tokens(text)])[0])
        return self._known[text]

    def together(self, some: list[str], threads: int = 1) -> Any:
        machine = EmbeddingMachine(lambda: self.model, EmbeddingParams(threads=threads))
        machine.packer.add("all", [self.tokens(text) for text in some])
        machine.open()
        rows: list[Embedded] = []
        while machine.busy:
            rows += machine.step()
        machine.close()
        assert [one.index for one in rows] == list(range(len(some)))
        return np.stack([unit(one.row) for one in rows])


def unit(row: Any) -> Any:
    return row / np.linalg.norm(row)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedding]:
    """The converted model."""
    path = tmp_path_factory.mktemp("minilm") / "minilm.gguf"
    found = Embedding(convert(checkpoint(), path, "F32"))
    yield found
    found.model.close()


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(checkpoint())


def test_tokens_are_those_of_the_tokenizers_library(
    minilm: Embedding, reference: Reference
) -> None:
    """Every script, control character and overlong word."""
    different = [
        text
        for text in texts()
        if minilm.tokens(text).tolist() != reference.tokenizer.encode(text).ids
    ]
    assert different == []


def test_vectors_are_those_of_sentence_transformers(
    minilm: Embedding, reference: Reference
) -> None:
    """A hundred texts: cosine 0.9999 and better."""
    some = texts()
    wanted = dict(zip(some, reference.embed(some), strict=True))
    cosines = {text: float(minilm.alone(text) @ wanted[text]) for text in some}
    worst = min(cosines, key=cosines.__getitem__)

    assert len(some) == 100
    assert cosines[worst] >= 0.9999, (worst[:40], cosines[worst])


@pytest.mark.parametrize("threads", [1, 2])
def test_together_is_alone(
    minilm: Embedding, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred texts packed into calls, two at once where there are threads: each has its own
    vector, in order, to 1e-4."""
    monkeypatch.setattr(lanes, "PATIENCE", 60.0)
    some = texts()
    together = minilm.together(some, threads)
    alone = np.stack([minilm.alone(text) for text in some])

    assert np.abs(together - alone).max() < 1e-4


@pytest.mark.slow
def test_four_thousand_together_are_alone(minilm: Embedding) -> None:
    """4,096 texts of all lengths in one request."""
    some = [f"{text[: 5 + at % 30]} {at}" for at, text in enumerate(texts() * 41)][:4096]
    together = minilm.together(some, threads=2)
    alone = np.stack([minilm.alone(text) for text in some])

    assert np.abs(together - alone).max() < 1e-4


def test_what_means_the_same_is_near(minilm: Embedding) -> None:
    """Of each group the first two are nearer to each other than to any other sentence."""
    vectors = minilm.together([text for group in PAIRS for text in group])
    near = vectors @ vectors.T
    for at in range(0, len(vectors), 3):
        others = np.delete(near[at], [at, at + 1])
        assert near[at, at + 1] > others.max() + 0.1


def test_half_precision_is_as_good(tmp_path: Path, minilm: Embedding, reference: Reference) -> None:
    """Half the size, the same vectors for all purposes."""
    half = Embedding(convert(checkpoint(), tmp_path / "half.gguf", "F16"))
    some = texts()[:8]
    cosines = (half.together(some) * reference.embed(some)).sum(axis=1)
    half.model.close()

    assert cosines.min() >= 0.9999
