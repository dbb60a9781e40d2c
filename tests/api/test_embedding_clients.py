"""The clients people use for vectors, unmodified: ollama, openai, langchain-ollama."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import ollama
import openai
import pytest
import trio
from langchain_ollama import OllamaEmbeddings

from tests.api.test_embeddings import close, unit
from trillama.engine.fake_embedding import WIDTH


async def in_thread(work: Callable[[], Any]) -> Any:
    with trio.fail_after(30):
        return await trio.to_thread.run_sync(work)


async def test_ollama(build: Callable[..., Any]) -> None:
    """``embed`` with its options, ``embeddings``, and an error with its status."""
    house = await build()

    def session() -> None:
        with ollama.Client(house.url) as client:
            many = client.embed("m", ["a", "b"], dimensions=8, options={"num_ctx": 64})
            one = client.embed("m", "a", truncate=True, keep_alive="1m")
            old = client.embeddings("m", "a")
            assert close(many.embeddings, [unit("a", keep=8), unit("b", keep=8)])
            assert close(one.embeddings, [unit("a")])
            assert close(old.embedding, unit("a"))
            assert one.prompt_eval_count == 1
            assert one.total_duration
            with pytest.raises(ollama.ResponseError, match="try pulling it first") as refused:
                client.embed("absent", "a")
            assert refused.value.status_code == 404

    await in_thread(session)


async def test_openai(build: Callable[..., Any]) -> None:
    """The client asks for base64 by itself; floats, tokens and dimensions are the same vectors."""
    house = await build()

    def session() -> None:
        with openai.OpenAI(base_url=f"{house.url}/v1", api_key="x", max_retries=0) as client:
            create = client.embeddings.create
            default = create(model="m", input=["a", "b"])
            floats = create(model="m", input=["a", "b"], encoding_format="float")
            tokens = create(model="m", input=[[97], [98]], dimensions=16)
            assert close([item.embedding for item in default.data], [unit("a"), unit("b")])
            assert close(floats.data[1].embedding, default.data[1].embedding)
            assert close(tokens.data[0].embedding, unit("a", keep=16))
            assert default.usage.prompt_tokens == default.usage.total_tokens == 2
            assert default.model == "m"
            with pytest.raises(openai.NotFoundError):
                create(model="absent", input="a")
            with pytest.raises(openai.BadRequestError, match="invalid input"):
                create(model="m", input=[])

    await in_thread(session)


async def test_langchain_ollama(build: Callable[..., Any]) -> None:
    """Documents and a query, as retrieval does it."""
    house = await build()

    def session() -> None:
        embeddings = OllamaEmbeddings(model="m", base_url=house.url)
        documents = embeddings.embed_documents(["one", "two"])
        query = embeddings.embed_query("one")
        assert np.shape(documents) == (2, WIDTH)
        assert close(documents[0], query)
        embeddings._client._client.close()

    await in_thread(session)
