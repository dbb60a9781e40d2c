"""Log-probabilities stand beside the text they belong to, in Ollama's form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ollama
import pytest
import trio

from tests.support.house import ask, model
from trillama.engine.fake import fixed

SAY = {"model": "m", "messages": [{"role": "user", "content": 'Repeat: "naïve"'}]}


async def chat(house: Any, **fields: Any) -> Any:
    return await ask(house, "POST", "/api/chat", SAY | fields)


async def test_each_token_of_a_stream_has_one_entry(build: Callable[..., Any]) -> None:
    """The bytes of all entries are the answer; a character of two tokens comes with both."""
    *pieces, last = (await chat(await build(), logprobs=True, top_logprobs=2)).lines()
    entries = [entry for piece in pieces for entry in piece["logprobs"]]

    assert bytes(b for entry in entries for b in entry["bytes"]).decode() == "naïve"
    assert [len(piece["logprobs"]) for piece in pieces] == [1, 1, 2, 1, 1]
    assert all(entry["logprob"] <= 0 for entry in entries)
    assert all(entry["top_logprobs"][0]["token"] == entry["token"] for entry in entries)
    assert "logprobs" not in last


async def test_the_whole_answer_has_them_all(build: Callable[..., Any]) -> None:
    """Also without alternatives, which then have no field."""
    (whole,) = (await chat(await build(), logprobs=True, stream=False)).lines()

    assert len(whole["logprobs"]) == 6
    assert set(whole["logprobs"][0]) == {"token", "logprob", "bytes"}


async def test_generate_has_them_too(build: Callable[..., Any]) -> None:
    """In the same form."""
    asked = {"model": "m", "prompt": 'Repeat: "ab"', "logprobs": True, "top_logprobs": 1}
    *pieces, _ = (await ask(await build(), "POST", "/api/generate", asked)).lines()

    assert [piece["logprobs"][0]["token"] for piece in pieces] == ["a", "b"]


@pytest.mark.parametrize("stream", [True, False])
async def test_nobody_gets_them_unasked(build: Callable[..., Any], stream: bool) -> None:
    """Alternatives alone are no wish for them."""
    for record in (await chat(await build(), top_logprobs=3, stream=stream)).lines():
        assert "logprobs" not in record


async def test_reasoning_has_them_as_well(build: Callable[..., Any]) -> None:
    """What the tags were made of stands with the text that follows them."""
    thinker = model(
        "m",
        capabilities=("completion", "thinking"),
        chat_template="{% for m in messages %}{{ m.content }}{% endfor %}<think></think>"
        "<|im_start|>assistant\n",
    )
    house = await build(thinker, script=fixed("<think>a</think>b"))
    (whole,) = (await chat(house, logprobs=True, stream=False)).lines()

    assert whole["message"] == {"role": "assistant", "content": "b", "thinking": "a"}
    assert "".join(entry["token"] for entry in whole["logprobs"]) == "<think>a</think>b"


async def test_the_official_client_finds_them(build: Callable[..., Any]) -> None:
    """As its own types."""
    house = await build()

    def call() -> Any:
        client = ollama.Client(house.url)
        found = client.chat(**SAY, logprobs=True, top_logprobs=3)
        client._client.close()
        return found

    with trio.fail_after(20):
        found = await trio.to_thread.run_sync(call)
    assert [len(entry.top_logprobs) for entry in found.logprobs] == [3] * 6
    assert found.logprobs[0].token == "n"
