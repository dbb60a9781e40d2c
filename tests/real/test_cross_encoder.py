"""A model that ranks, from its checkpoint to the answer of the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.house import ask, houses, model
from tests.support.minilm import Reference
from tests.support.tiny_bert import VOCABULARY, make_bert
from trillama.engine.base import LoadParams
from trillama.engine.embedding import EmbeddingParams
from trillama.engine.llama import LlamaBackend
from trillama.models.convert import convert

build = pytest.fixture(houses)

QUERY = "where is the river?"
DOCUMENTS = ["the river is here.", "42", "ring the bell!", "rivering, the end", "a" * 90]


def reference_score(folder: Path, query: str, document: str) -> float:
    """The classifier's output for a pair of texts, by the formulas."""
    encoder = Reference(folder)
    words = [VOCABULARY.index("[CLS]")]
    for text, room in ((query, 64), (document, 64)):
        words += [*encoder.ids(text)[:room], VOCABULARY.index("[SEP]")]
    if len(words) > 64:
        words = [*words[:63], words[-1]]
    first = encoder.rows([words])[0][0]
    pooled = np.tanh(encoder.dense(first, "pooler.dense"))
    return float(encoder.dense(pooled, "classifier")[0])


async def test_scores_are_those_of_the_formulas(build: Callable[..., Any], tmp_path: Path) -> None:
    """Through conversion, packing, cutting and sorting each pair has the score it should have."""
    folder = make_bert(tmp_path / "bert", ranks=True)
    path = convert(folder, tmp_path / "ranker.gguf", "F32")
    ranker = model("ranker", weights=path, capabilities=("embedding",))
    house = await build(ranker, backend=LlamaBackend())
    body = {"model": "ranker", "query": QUERY, "documents": DOCUMENTS, "raw_scores": True}
    reply = (await ask(house, "POST", "/v1/rerank", body)).json()
    wanted = [reference_score(folder, QUERY, document) for document in DOCUMENTS]

    found = {entry["index"]: entry["relevance_score"] for entry in reply["results"]}
    assert [found[at] for at in range(len(DOCUMENTS))] == pytest.approx(wanted, abs=3e-3)
    assert list(found) == sorted(found, key=lambda at: -wanted[at])
    assert max(wanted) - min(wanted) > 0.3
    assert reply["truncated"]


async def test_an_embedder_does_not_rank(build: Callable[..., Any], tmp_path: Path) -> None:
    """And a ranker does not embed; both say so."""
    embedder = convert(make_bert(tmp_path / "e"), tmp_path / "e.gguf")
    ranker = convert(make_bert(tmp_path / "r", ranks=True), tmp_path / "r.gguf")
    house = await build(
        model("e", weights=embedder, capabilities=("embedding",)),
        model("r", weights=ranker, capabilities=("embedding",)),
        backend=LlamaBackend(),
    )
    refused = await ask(
        house, "POST", "/v1/rerank", {"model": "e", "query": "a", "documents": ["b"]}
    )
    also = await ask(house, "POST", "/api/embed", {"model": "r", "input": "a"})

    assert '"e" does not support rerank' in refused.json()["error"]["message"]
    assert '"r" does not support embeddings' in also.json()["error"]


@pytest.mark.parametrize("positions", [1, 5, 63, 64])
def test_any_number_of_positions(tmp_path: Path, positions: int) -> None:
    """llama.cpp asserts that the rows of a graph divide among its sequences; ours always do."""
    folder = make_bert(tmp_path / "bert")
    (folder / "sentence_bert_config.json").write_text(f'{{"max_seq_length": {positions}}}')
    path = convert(folder, tmp_path / "bert.gguf")
    loaded = LlamaBackend().load(str(path), LoadParams())
    for batch, sequences in ((0, 64), (64, 128), (96, 64), (1, 256)):
        params = EmbeddingParams(batch=batch, sequences=sequences, longest=1024)
        context = loaded.open_embeddings(params)
        assert context.limits.longest == min(positions, 64)
        row = context.embed([np.zeros(context.limits.longest, np.int32)])
        assert np.isfinite(row).all()
        context.close()
    loaded.close()
