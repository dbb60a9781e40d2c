"""Reranking as the clients of Jina, Cohere and text-embeddings-inference ask for it.

``/v1/rerank``, ``/rerank`` and ``/api/rerank`` take ``documents`` (texts, or objects with a
``text``) and answer with ``results``, best first; with ``texts`` in their place the answer is
text-embeddings-inference's bare list.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..base.embeddings import Ranking, RerankRequest
from ..base.errors import BadRequest
from . import gojson, goshape
from .embeddings import COMMON, MAX_INPUTS, cut
from .goshape import Place, Refusals


class Rerank(msgspec.Struct, kw_only=True):
    """A body understood.

    Attributes:
        given: the documents as they were sent.
        show: the answer holds the documents too.
        bare: the answer is text-embeddings-inference's.
    """

    request: RerankRequest
    given: list[Any]
    show: bool = False
    bare: bool = False


def _text_of(document: Any) -> str:
    found = document.get("text") if isinstance(document, dict) else document
    if not isinstance(found, str):
        raise BadRequest("a document must be a string, or an object with a string under 'text'")
    return found


@goshape.described(
    type="array",
    items={
        "anyOf": [
            {"type": "string"},
            {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        ]
    },
)
def _documents(value: Any, place: Place) -> list[Any]:
    if not isinstance(value, list):
        raise place.mismatch(value, "[]string")
    return value


REFUSED: Refusals = {
    "max_chunks_per_doc": (),
    "max_tokens_per_doc": (),
    "rank_fields": ([], ["text"]),
    "truncation_direction": ("Right",),
}
"""What others' rerankers know and ours does not."""

_RERANK: goshape.Table = {
    **COMMON,
    **goshape.refusals(REFUSED),
    "query": goshape.string,
    "documents": _documents,
    "texts": _documents,
    "top_n": goshape.integer,
    "return_documents": goshape.boolean,
    "return_text": goshape.boolean,
    "raw_scores": goshape.boolean,
}


def read_rerank(body: bytes) -> Rerank:
    """Decode a body.

    Raises:
        BadRequest: a field is missing or has the wrong type; the message names it.
    """
    found = goshape.body(gojson.decode(body), _RERANK, "RerankRequest")
    if not found.get("model", "").strip():
        raise BadRequest("model is required")
    if "query" not in found:
        raise BadRequest('"query" must be provided')
    bare = "texts" in found and "documents" not in found
    given = found.pop("texts", None)
    given = found.pop("documents", given)
    if not given:
        raise BadRequest('"documents" must be a non-empty string array')
    if len(given) > MAX_INPUTS:
        raise BadRequest(f"{len(given)} documents; at most {MAX_INPUTS} are possible")
    top = found.pop("top_n", None)
    if top is not None and top < 1:
        raise BadRequest("top_n must be at least 1")
    shows = [found.pop(name, False) for name in ("return_documents", "return_text")]
    request = RerankRequest(
        documents=tuple(map(_text_of, given)),
        top=top,
        raw=found.pop("raw_scores", False),
        **found,
    )
    return Rerank(request=request, given=given, show=any(shows), bare=bare)


def write_rerank(asked: Rerank, ranking: Ranking) -> bytes:
    """The answer, in the shape that was asked for."""
    texts = asked.request.documents
    if asked.bare:
        return gojson.encode(
            [
                {"index": index, "score": score} | ({"text": texts[index]} if asked.show else {})
                for index, score in ranking.order
            ]
        )
    results = [
        {"index": index, "relevance_score": score}
        | ({"document": {"text": texts[index]}} if asked.show else {})
        for index, score in ranking.order
    ]
    usage = {"prompt_tokens": ranking.prompt_tokens, "total_tokens": ranking.prompt_tokens}
    answer = {"model": asked.request.model, "object": "list", "usage": usage, "results": results}
    return gojson.encode(answer | cut(ranking.dropped))


BODIES: dict[str, goshape.Table] = dict.fromkeys(
    ("/api/rerank", "/rerank", "/reranking", "/v1/rerank", "/v1/reranking"), _RERANK
)
"""The tables of the bodies at these paths."""
