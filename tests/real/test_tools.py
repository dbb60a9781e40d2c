"""Tool calls of the bundled model, through Ollama's own client: call, result, answer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.support.served import Process
from training import cases
from training.corpus import tools as corpus

pytestmark = [pytest.mark.real, pytest.mark.slow]

QUESTIONS = 60
WANTED = {True: 0.85, False: 0.80}
"""Shares of whole round trips by ``think``; the printed figures say what was reached."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ollama.Client]:
    """A client of a server of its own."""
    server = Process(tmp_path_factory.mktemp("tools") / "models")
    try:
        client = ollama.Client(f"http://127.0.0.1:{server.port}")
        yield client
        client._client.close()
    finally:
        server.close()


def said(client: ollama.Client, messages: list[Any], **fields: Any) -> dict[str, Any]:
    """A streamed answer, put together again as a client does."""
    content, calls, thinking = "", [], ""
    stream = client.chat(
        "tiny", messages, stream=True, options={"temperature": 0, "num_predict": 400}, **fields
    )
    for part in stream:
        content += part.message.content or ""
        thinking += part.message.thinking or ""
        calls += part.message.tool_calls or []
    return {"role": "assistant", "content": content, "thinking": thinking, "tool_calls": calls}


def round_trip(client: ollama.Client, rng: random.Random, think: bool) -> tuple[bool, bool]:
    """Whether the right call was made, and whether its result was told."""
    wanted, offered = cases._offer(rng)
    result = corpus.result(rng, wanted.task.result, wanted.arguments)
    messages: list[Any] = [{"role": "user", "content": wanted.user}]
    first = said(client, messages, tools=offered, think=think)
    made = [(call.function.name, dict(call.function.arguments)) for call in first["tool_calls"]]
    if made != [(wanted.schema["name"], wanted.arguments)]:
        return False, False
    (call,) = first["tool_calls"]
    answer = {"role": "tool", "content": result, "tool_name": call.function.name}
    second = said(client, [*messages, first, answer], tools=offered, think=think)
    return True, result in second["content"] and not second["tool_calls"]


@pytest.mark.parametrize("think", [True, False])
@pytest.mark.parametrize("seed", ["first"])
def test_calls_make_the_round(client: ollama.Client, think: bool, seed: str) -> None:
    """Held-out tools and names: the call, its result, the answer, all by streams."""
    rng = random.Random(seed)
    trips = [round_trip(client, rng, think) for _ in range(QUESTIONS)]
    called, told = sum(trip[0] for trip in trips), sum(trip[1] for trip in trips)
    print(f"\nthink={think}: {called}/{QUESTIONS} right calls, {told} of them answered")  # noqa: T201

    assert told >= 0.95 * called
    assert told >= WANTED[think] * QUESTIONS
