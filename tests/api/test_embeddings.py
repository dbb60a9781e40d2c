"""Vectors over HTTP, on the fake engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import trio

from tests.support.house import ask, connect, model
from trillama.engine.fake_embedding import WIDTH, fake_row
from trillama.engine.fake_vocab import FakeVocabulary


def unit(text: str, cut: int = 10**6, keep: int = WIDTH) -> np.ndarray:
    """The vector the fake has for a text."""
    row = fake_row(FakeVocabulary().tokenize(text)[:cut])
    row = row / np.linalg.norm(row)
    return row[:keep] / np.linalg.norm(row[:keep])


async def post(house: Any, path: str, **body: Any) -> tuple[int, Any]:
    reply = await ask(house, "POST", path, body)
    return reply.status, reply.json()


def close(found: Any, wanted: Any) -> bool:
    return np.allclose(np.array(found), np.array(wanted), atol=1e-6)


async def test_vectors_in_order_and_of_length_one(build: Callable[..., Any]) -> None:
    """Many inputs, one answer: the order kept, the tokens counted, the times told."""
    house = await build()
    texts = [f"text {number}" for number in range(40)]
    status, found = await post(house, "/api/embed", model="m", input=texts)

    assert status == 200
    assert list(found) == [
        "model", "embeddings", "total_duration", "load_duration", "prompt_eval_count",
    ]  # fmt: skip
    assert close(found["embeddings"], [unit(text) for text in texts])
    assert found["prompt_eval_count"] == sum(map(len, texts))
    assert house.at_rest()


async def test_dimensions_are_cut_and_normalised_again(build: Callable[..., Any]) -> None:
    """Fewer values, still of length one; zero and too many mean all of them."""
    house = await build()
    _, few = await post(house, "/api/embed", model="m", input="a", dimensions=8)
    _, all_of_them = await post(house, "/api/embed", model="m", input="a", dimensions=WIDTH)
    _, too_many = await post(house, "/v1/embeddings", model="m", input="a", dimensions=9999)

    assert close(few["embeddings"], [unit("a", keep=8)])
    assert close(all_of_them["embeddings"], [unit("a")])
    assert close(too_many["data"][0]["embedding"], unit("a"))


async def test_what_is_too_long_is_cut_and_told_or_refused_by_number(
    build: Callable[..., Any],
) -> None:
    """``truncate`` decides; the error names the input, the answer what was left out."""
    house = await build()
    body = {"model": "m", "input": ["ab", "abcdef"], "options": {"num_ctx": 4}}
    _, cut = await post(house, "/api/embed", **body)
    status, refused = await post(house, "/api/embed", **body, truncate=False)

    assert close(cut["embeddings"], [unit("ab"), unit("abcdef", cut=4)])
    assert (cut["truncated"], cut["prompt_tokens_dropped"]) == (True, 2)
    assert cut["prompt_eval_count"] == 6
    assert (status, refused["error"]) == (
        400,
        "the input length exceeds the context length: input 1 has 6 tokens, the model takes 4",
    )


async def test_the_pool_and_the_training_are_limits(build: Callable[..., Any]) -> None:
    """An input of many thousand tokens is cut to what the model holds, not an error inside."""
    house = await build()
    _, found = await post(house, "/api/embed", model="m", input="x" * 5000)

    assert found["prompt_eval_count"] == 2048
    assert close(found["embeddings"], [unit("x" * 2048)])


async def test_nothing_to_embed_loads(build: Callable[..., Any]) -> None:
    """No input: the model is loaded, and goes at once where that was asked for."""
    house = await build()
    status, found = await post(house, "/api/embed", model="m", input="", keep_alive="5m")
    assert (status, found) == (200, {"model": "m", "embeddings": []})
    assert house.backend.open_models == 1
    assert (await post(house, "/api/embeddings", model="m", keep_alive=0))[1] == {"embedding": []}
    await house.until(lambda: not house.backend.open_models)


async def test_the_old_endpoint(build: Callable[..., Any]) -> None:
    """One prompt, one vector, no counts."""
    house = await build()
    _, found = await post(house, "/api/embeddings", model="m", prompt="hello")

    assert list(found) == ["embedding"]
    assert close(found["embedding"], unit("hello"))


async def test_openais_shape(build: Callable[..., Any]) -> None:
    """Objects with their places, usage, base64, and tokens as input."""
    house = await build()
    _, texts = await post(house, "/v1/embeddings", model="m", input=["a", "b"])
    _, tokens = await post(house, "/v1/embeddings", model="m", input=[[97], [98]])
    _, coded = await post(house, "/v1/embeddings", model="m", input="a", encoding_format="base64")

    assert [entry["index"] for entry in texts["data"]] == [0, 1]
    assert texts["data"] == tokens["data"]
    assert texts["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    assert isinstance(coded["data"][0]["embedding"], str)


async def test_an_empty_text_in_a_list_has_a_vector(build: Callable[..., Any]) -> None:
    """Where a model puts nothing around texts, its end token stands for it."""
    house = await build()
    _, found = await post(house, "/api/embed", model="m", input=["", "a"])

    assert close(found["embeddings"], [unit("</s>"), unit("a")])


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/api/embed", {"model": "x", "input": "a"}, 404, 'model "x" not found, try pulling'),
        ("/api/embed", {"model": "m", "input": 1}, 400, "invalid input type"),
        ("/api/embed", {"model": "m", "input": "a", "options": {"num_ctx": "z"}}, 400, "num_ctx"),
        ("/api/embed", {"model": "mute", "input": "a"}, 400, '"mute" does not support embed'),
        ("/api/embed", {"model": "ranker", "input": "a"}, 400, '"ranker" does not support embed'),
        ("/api/embed", {"model": "", "input": "a"}, 404, "model '' not found"),
        ("/api/embeddings", {"prompt": "a"}, 400, "model is required"),
    ],
)
async def test_refusals(
    build: Callable[..., Any], path: str, body: dict[str, Any], status: int, text: str
) -> None:
    """A status and words a client can act on."""
    house = await build(model("m"), model("mute"), model("ranker"))
    found, error = await post(house, path, **body)

    assert found == status
    assert text in error["error"]


@pytest.mark.parametrize(
    ("body", "status", "kind", "text"),
    [
        ({"model": "m"}, 400, "invalid_request_error", "invalid input"),
        ({"model": "x", "input": "a"}, 404, "not_found_error", 'model "x" not found'),
        ({"model": "m", "input": [999]}, 400, "invalid_request_error", "input 0 holds a token"),
        (
            {"model": "m", "input": [[1], [2, 3]], "num_ctx": 1, "truncate": False},
            400,
            "invalid_request_error",
            "input 1 has 2 tokens",
        ),
    ],
)
async def test_openais_errors(
    build: Callable[..., Any], body: dict[str, Any], status: int, kind: str, text: str
) -> None:
    """Trouble in OpenAI's shape, with every key it has."""
    house = await build()
    found, answer = await post(house, "/v1/embeddings", **body)

    assert found == status
    assert (answer["error"]["type"], answer["error"]["param"]) == (kind, None)
    assert text in answer["error"]["message"]


async def test_values_that_are_no_numbers_are_an_error(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken model is told, not passed on."""
    house = await build()
    monkeypatch.setattr(
        "trillama.engine.fake_embedding.fake_row", lambda _: np.full(WIDTH, np.nan, np.float32)
    )
    status, error = await post(house, "/api/embed", model="m", input="a")
    assert (status, error["error"]) == (400, "embedding contains NaN or Inf values")


async def test_a_hang_up_leaves_nothing_behind(build: Callable[..., Any]) -> None:
    """Inputs, lease and place in the queue are given back while the engine is still busy."""
    house = await build()
    inside, go = threading.Event(), threading.Event()

    def hold(inputs: object) -> None:
        inside.set()
        assert go.wait(20)

    house.hooks.on_embed = hold
    wire = await connect(house)
    await wire.send("POST", "/api/embed", b'{"model":"m","input":[%s]}' % b",".join([b'"a"'] * 999))
    await house.until(inside.is_set)
    wire.hang_up()
    await house.until(house.at_rest)
    go.set()
    house.hooks.on_embed = None
    status, _ = await post(house, "/api/embed", model="m", input="b")
    assert status == 200


async def test_chat_and_vectors_at_once(build: Callable[..., Any]) -> None:
    """Thirty of each on one model, loaded once; each gets its own."""
    house = await build()
    said: dict[int, str] = {}
    vectors: dict[int, Any] = {}

    async def chat(number: int) -> None:
        messages = [{"role": "user", "content": f'Repeat: "c{number}"'}]
        _, answer = await post(house, "/api/chat", model="m", messages=messages, stream=False)
        said[number] = answer["message"]["content"]

    async def embed(number: int) -> None:
        _, answer = await post(house, "/api/embed", model="m", input=f"v{number}")
        vectors[number] = answer["embeddings"][0]

    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(chat, number)
            nursery.start_soon(embed, number)

    assert said == {number: f"c{number}" for number in range(30)}
    assert all(close(row, unit(f"v{number}")) for number, row in vectors.items())
    assert len(house.backend.models) == 1
    await house.until(house.at_rest)


async def test_a_model_that_only_embeds(build: Callable[..., Any]) -> None:
    """It is listed and unloaded like others, embeds, and refuses to chat."""
    house = await build(model("e", capabilities=("embedding",)))
    _, found = await post(house, "/api/embed", model="e", input="a")
    (entry,) = (await ask(house, "GET", "/api/ps")).json()["models"]
    status, refused = await post(house, "/api/chat", model="e", messages=[{"role": "user"}])

    assert close(found["embeddings"], [unit("a")])
    assert entry["context_length"] == 4096
    assert (status, refused["error"]) == (400, '"e" does not support chat')
    assert house.backend.contexts == []
    await post(house, "/api/generate", model="e", keep_alive=0)
    await house.until(lambda: not house.backend.open_models)
