"""Bodies of requests for vectors, understood or refused in Ollama's words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from trillama.base.embeddings import Vectors
from trillama.base.errors import TrillamaError
from trillama.wire.embeddings import (
    MAX_INPUTS,
    read_embed,
    read_embeddings,
    read_openai_embeddings,
    write_embed,
    write_embeddings,
    write_openai_embeddings,
)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m"} | fields).encode()


@pytest.mark.parametrize(
    ("value", "inputs"),
    [("a", ("a",)), (["a", ""], ("a", "")), ("", ()), ([], ()), (None, ()), ([""], ("",))],
)
def test_ollamas_input(value: Any, inputs: tuple[str, ...]) -> None:
    """A string or strings; nothing, or an empty string alone, only loads."""
    assert read_embed(body(input=value)).inputs == inputs


@pytest.mark.parametrize("value", [1, {}, True, ["a", 1], [["a"]], [None]])
def test_ollamas_input_of_another_type(value: Any) -> None:
    """Refused before the model is looked for."""
    with pytest.raises(TrillamaError, match="invalid input type"):
        read_embed(body(input=value))


@pytest.mark.parametrize(
    ("value", "inputs"),
    [
        ("", ("",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1], [2, 3]], ((1,), (2, 3))),
    ],
)
def test_openais_input(value: Any, inputs: tuple[Any, ...]) -> None:
    """Texts, tokens, or lists of tokens."""
    assert read_openai_embeddings(body(input=value)).request.inputs == inputs


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "invalid input"),
        ([], "invalid input"),
        (7, "invalid input type"),
        (["a", 1], "invalid input type"),
        ([[1], []], "invalid input type"),
        ([[1], ["a"]], "invalid input type"),
        ([True], "invalid input type"),
    ],
)
def test_openais_input_refused(value: Any, text: str) -> None:
    """What is neither."""
    with pytest.raises(TrillamaError) as refused:
        read_openai_embeddings(body(input=value))
    assert refused.value.message == text


def test_options_reach_the_request() -> None:
    """Every field has its place."""
    read = read_embed(
        body(
            input="a",
            truncate=False,
            dimensions=3,
            keep_alive="2s",
            options={"num_ctx": 8},
        )
    )
    assert (read.truncate, read.dimensions, read.keep_alive) == (False, 3, 2 * 10**9)
    assert read.options == {"num_ctx": 8}
    assert read_embed(body(input="a")).truncate
    assert not read_embeddings(body(prompt="a")).truncate
    openai = read_openai_embeddings(body(input="a", encoding_format="BASE64", num_ctx=9))
    assert openai.base64
    assert openai.request.options == {"num_ctx": 9}


@pytest.mark.parametrize(
    ("read", "sent", "status", "text"),
    [
        (read_embed, b'{"input":"a"}', 404, "model '' not found"),
        (read_embeddings, b'{"prompt":"a"}', 400, "model is required"),
        (read_openai_embeddings, b'{"input":"a"}', 404, "model '' not found"),
        (
            read_openai_embeddings,
            body(input="a", encoding_format="hex"),
            400,
            "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64'].",
        ),
        (
            read_embed,
            body(input=["a"] * (MAX_INPUTS + 1)),
            400,
            "16385 inputs in one request; at most 16384 are possible",
        ),
    ],
)
def test_refusals(read: Any, sent: bytes, status: int, text: str) -> None:
    """Status and words are Ollama's."""
    with pytest.raises(TrillamaError) as refused:
        read(sent)
    assert (refused.value.status, refused.value.message) == (status, text)


ROWS = np.array([[0.1, 0.5], [1.0, 0.0]], np.float32)


def test_answers() -> None:
    """Each dialect's own shape; what was cut is told, what was not is not mentioned."""
    found = Vectors(rows=ROWS, prompt_tokens=5, total_ns=9, load_ns=2)
    native = json.loads(write_embed("m", found))
    openai = json.loads(write_openai_embeddings("m", found, as_base64=False))

    assert native == {
        "model": "m",
        "embeddings": [[0.1, 0.5], [1, 0]],
        "total_duration": 9,
        "load_duration": 2,
        "prompt_eval_count": 5,
    }
    assert openai == {
        "object": "list",
        "data": [
            {"object": "embedding", "embedding": [0.1, 0.5], "index": 0},
            {"object": "embedding", "embedding": [1, 0], "index": 1},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
    assert json.loads(write_embed("m", None)) == {"model": "m", "embeddings": []}
    assert json.loads(write_embeddings(None)) == {"embedding": []}
    assert json.loads(write_embeddings(found))["embedding"] == [
        0.10000000149011612,
        0.5,
    ]
    cut = json.loads(write_embed("m", Vectors(rows=ROWS, dropped=3)))
    assert (cut["truncated"], cut["prompt_tokens_dropped"]) == (True, 3)
