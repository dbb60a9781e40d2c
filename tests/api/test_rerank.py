"""Reranking over HTTP, on a fake model that counts shared letters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.house import ask, model

DOCUMENTS = ["zzzz", "aazz", "aaaa", "azzz"]
"""For a query of ``a`` the fake's raw scores are -4, 0, 4 and -2."""


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


async def post(house: Any, path: str, **body: Any) -> tuple[int, Any]:
    reply = await ask(house, "POST", path, {"model": "ranker", "query": "a"} | body)
    return reply.status, reply.json()


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/api/rerank", "/v1/reranking"])
async def test_best_first(build: Callable[..., Any], path: str) -> None:
    """Jina's and Cohere's shape: places in the request, scores from 0 to 1, tokens used."""
    house = await build(model("ranker"))
    status, found = await post(house, path, documents=DOCUMENTS)

    assert status == 200
    assert [entry["index"] for entry in found["results"]] == [2, 1, 3, 0]
    scores = [entry["relevance_score"] for entry in found["results"]]
    assert scores == pytest.approx([sigmoid(score) for score in (4, 0, -2, -4)])
    assert (found["model"], found["object"]) == ("ranker", "list")
    assert found["usage"]["total_tokens"] == found["usage"]["prompt_tokens"] > 16
    assert house.at_rest()


async def test_what_a_client_may_choose(build: Callable[..., Any]) -> None:
    """How many, with their texts, with the model's own scores; documents may be objects."""
    house = await build(model("ranker"))
    _, found = await post(
        house,
        "/v1/rerank",
        documents=[{"text": text} for text in DOCUMENTS],
        top_n=2,
        return_documents=True,
        raw_scores=True,
    )

    assert found["results"] == [
        {"index": 2, "relevance_score": 4.0, "document": {"text": "aaaa"}},
        {"index": 1, "relevance_score": 0.0, "document": {"text": "aazz"}},
    ]


async def test_text_embeddings_inference_has_its_list(build: Callable[..., Any]) -> None:
    """``texts`` in place of ``documents`` is answered with a bare list."""
    house = await build(model("ranker"))
    _, found = await post(house, "/rerank", texts=["zz", "aa"], return_text=True, raw_scores=True)

    assert found == [
        {"index": 1, "score": 4.0, "text": "aa"},
        {"index": 0, "score": -4.0, "text": "zz"},
    ]


async def test_long_documents_are_cut_or_refused(build: Callable[..., Any]) -> None:
    """The query is kept whole; what is cut is told, what may not be cut is named."""
    house = await build(model("ranker"))
    body = {"documents": ["a", "z" * 50], "options": {"num_ctx": 10}}
    _, cut = await post(house, "/v1/rerank", **body)
    status, refused = await post(house, "/v1/rerank", **body, truncate=False)
    _, no_room = await post(house, "/api/rerank", **body, query="q" * 10)

    assert cut["prompt_tokens_dropped"] == 42
    assert status == 400
    assert "input 1 has 52 tokens, the model takes 10" in refused["error"]["message"]
    assert no_room["error"] == "the query has 10 tokens, the model takes 10 for a pair"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"model": "m", "documents": ["x"]}, 400, '"m" does not support rerank'),
        ({"model": "", "documents": ["x"]}, 400, "model is required"),
        ({"model": "gone", "documents": ["x"]}, 404, 'model "gone" not found'),
        ({}, 400, '"documents" must be a non-empty string array'),
        ({"documents": []}, 400, '"documents" must be a non-empty string array'),
        ({"documents": "x"}, 400, "cannot unmarshal string"),
        ({"documents": [1]}, 400, "a document must be a string"),
        ({"documents": ["x"], "query": None}, 400, '"query" must be provided'),
        ({"documents": ["x"], "top_n": 0}, 400, "top_n must be at least 1"),
        ({"documents": ["x"] * 20_000}, 400, "at most 16384"),
    ],
)
async def test_refusals(
    build: Callable[..., Any], body: dict[str, Any], status: int, text: str
) -> None:
    """A status and words a client can act on, in each path's shape."""
    house = await build(model("m"), model("ranker"))
    for path in ("/api/rerank", "/v1/rerank", "/rerank"):
        found, answer = await post(house, path, **body)
        error = answer["error"]
        assert found == status
        assert text in (error if path == "/api/rerank" else error["message"])
