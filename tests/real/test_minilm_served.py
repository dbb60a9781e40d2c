"""Vectors of a real sentence embedder as clients get them: over HTTP, by all routes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from tests.support.house import House, ask, houses, model
from tests.support.minilm import Reference, checkpoint, texts
from trillama.engine.llama import LlamaBackend
from trillama.models.convert import convert

build = pytest.fixture(houses)

Rows = np.ndarray[Any, np.dtype[np.float32]]


@pytest.fixture
async def house(build: Callable[..., Any], tmp_path: Path) -> House:
    """A server with the model in full precision."""
    weights = convert(checkpoint(), tmp_path / "minilm.gguf", "F32")
    found: House = await build(
        model("minilm", weights=weights, capabilities=("embedding",)),
        backend=LlamaBackend(),
        num_thread=1,
    )
    return found


async def post(house: House, path: str, **fields: Any) -> Any:
    reply = await ask(house, "POST", path, {"model": "minilm", **fields}, patience=300)
    assert reply.status == 200, reply.body
    return reply.json()


async def embed(house: House, some: list[str]) -> Rows:
    return np.array((await post(house, "/api/embed", input=some))["embeddings"], np.float32)


async def by_openai(house: House, some: list[str]) -> Rows:
    found = await post(house, "/v1/embeddings", input=some, encoding_format="base64")
    assert [one["index"] for one in found["data"]] == list(range(len(some)))
    rows = [base64.b64decode(one["embedding"]) for one in found["data"]]
    return np.array([np.frombuffer(row, np.float32) for row in rows])


async def alone(house: House, some: list[str]) -> Rows:
    """Each by a request of its own."""
    return np.concatenate([await embed(house, [text]) for text in some])


async def test_vectors_are_those_of_sentence_transformers(house: House) -> None:
    """By Ollama's routes, old and new, or OpenAI's: cosine 0.9999 and better."""
    some = [text for text in texts() if 0 < len(text) < 300]
    wanted = Reference(checkpoint()).embed(some)
    one = await post(house, "/api/embeddings", prompt=some[0])

    for found in (await embed(house, some), await by_openai(house, some)):
        assert (found * wanted).sum(axis=1).min() >= 0.9999
    assert np.dot(one["embedding"], wanted[0]) >= 0.9999


async def test_together_is_alone_whatever_their_number(house: House) -> None:
    """One to a hundred in a request, in order, to 1e-4; long ones are cut alike."""
    some = texts()
    single = await alone(house, some)

    for number in (1, 2, 7, 64, 65, 100):
        assert np.abs(await embed(house, some[:number]) - single[:number]).max() < 1e-4


async def test_requests_side_by_side_get_their_own(house: House) -> None:
    """Inputs of several clients share computations, and no vector goes astray."""
    some = texts()[:40]
    parts = [some[at::5] for at in range(5)]
    found: dict[int, Rows] = {}

    async def one(at: int) -> None:
        found[at] = await (embed if at % 2 else by_openai)(house, parts[at])

    async with trio.open_nursery() as nursery:
        for at in range(5):
            nursery.start_soon(one, at)
    single = await alone(house, some)
    for at in range(5):
        assert np.abs(found[at] - single[at::5]).max() < 1e-4


@pytest.mark.slow
async def test_four_thousand_in_a_request(house: House) -> None:
    """4,096 short texts, in order, to 1e-4."""
    some = [f"{text[: 5 + at % 30]} {at}" for at, text in enumerate(texts() * 41)][:4096]
    found = await embed(house, some)

    assert np.abs(found[::16] - await alone(house, some[::16])).max() < 1e-4
    assert len(np.unique(found.round(4), axis=0)) == 4096
