"""Every field of requests for vectors, rankings and tokens has an effect, is a label, or is refused
by name; a new one needs a row."""

from __future__ import annotations

import msgspec
import pytest
from openai.types import EmbeddingCreateParams

from tests.support.fields import Effect, Kind, Label, Refused, Row, Shown, check_kinds, rows
from trillama.base.adapters import AdapterChoice
from trillama.base.messages import Message
from trillama.wire import embeddings, rerank, tokens
from trillama.wire.embeddings import read_embed, read_embeddings, read_openai_embeddings
from trillama.wire.rerank import read_rerank
from trillama.wire.tokens import read_detokenize, read_tokenize

Table = dict[str, Row]

COMMON: Table = {
    "model": Effect("other", {"model": "other"}),
    "truncate": Effect(False, {"truncate": False}),
    "keep_alive": Effect("5m", {"keep_alive": 300 * 10**9}),
    "adapter": Effect("b", {"adapter": (AdapterChoice("b"),)}),
    "options": Effect({"num_ctx": 5}, {"options": {"num_ctx": 5}}),
}
EMBED: Table = {
    **COMMON,
    "input": Effect(["x", "y"], {"inputs": ("x", "y")}),
    "dimensions": Effect(5, {"dimensions": 5}),
}
EMBEDDINGS: Table = {
    **COMMON,
    "truncate": Effect(True, {"truncate": True}),
    "prompt": Effect("y", {"inputs": ("y",)}),
}
OPENAI: Table = {
    **EMBED,
    "encoding_format": Effect("base64", {"base64": True}),
    "num_ctx": Effect(5, {"options": {"num_ctx": 5}}),
    "user": Label("someone"),
}
RERANK: Table = {
    **COMMON,
    "query": Effect("y", {"query": "y"}),
    "documents": Effect([{"text": "y"}], {"documents": ("y",), "given": [{"text": "y"}]}),
    "texts": Effect(
        ["y"], {"documents": ("y",), "given": ["y"], "bare": True}, {"documents": None}
    ),
    "top_n": Effect(1, {"top": 1}),
    "return_documents": Effect(True, {"show": True}),
    "return_text": Effect(True, {"show": True}),
    "raw_scores": Effect(True, {"raw": True}),
    "max_chunks_per_doc": Refused(2),
    "max_tokens_per_doc": Refused(2),
    "rank_fields": Refused(["title"]),
    "truncation_direction": Refused("Left"),
}
TOKENIZE: Table = {
    "model": Effect("other", {"model": "other"}),
    "content": Effect(["y", 5], {"content": ["y", 5]}),
    "messages": Shown(
        None, "tests/wire/test_vector_fields.py::test_messages_stand_in_place_of_content"
    ),
    "media_type": Refused("image"),
    "add_special": Effect(True, {"add_special": True}),
    "parse_special": Effect(False, {"parse_special": False}),
    "with_pieces": Effect(True, {"with_pieces": True}),
}
DETOKENIZE: Table = {
    "model": Effect("other", {"model": "other"}),
    "tokens": Effect([5], {"tokens": [5]}),
}


KINDS = (
    Kind(read_embed, {"model": "m", "input": "x"}, EMBED, ("/api/embed",)),
    Kind(read_embeddings, {"model": "m", "prompt": "x"}, EMBEDDINGS, ("/api/embeddings",)),
    Kind(read_openai_embeddings, {"model": "m", "input": "x"}, OPENAI, ("/v1/embeddings",)),
    Kind(
        read_rerank,
        {"model": "m", "query": "x", "documents": ["x"]},
        RERANK,
        ("/api/rerank", "/rerank", "/reranking", "/v1/rerank", "/v1/reranking"),
        rerank.REFUSED,
    ),
    Kind(
        read_tokenize,
        {"model": "m", "content": "x"},
        TOKENIZE,
        ("/api/tokenize", "/tokenize"),
        tokens.REFUSED,
    ),
    Kind(
        read_detokenize,
        {"model": "m", "tokens": [1]},
        DETOKENIZE,
        ("/api/detokenize", "/detokenize"),
    ),
)


def test_every_field_has_a_row() -> None:
    """At every path; and every field of the official clients is known."""
    check_kinds(KINDS, embeddings.BODIES | rerank.BODIES | tokens.BODIES)
    assert set(EmbeddingCreateParams.__annotations__) <= set(OPENAI)


@pytest.mark.parametrize(("kind", "name"), rows(KINDS))
def test_a_field_does_what_its_row_says(kind: Kind, name: str) -> None:
    """An effect on what is asked, and on nothing else, or a refusal."""
    kind.check(name)


def test_messages_stand_in_place_of_content() -> None:
    """With every field of a chat beside them, which has a table of its own."""
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "think": True}
    turn = read_tokenize(msgspec.json.encode(body)).turn

    assert turn is not None
    assert (turn.messages, turn.think) == ((Message("user", "x"),), True)
