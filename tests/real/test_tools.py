"""Tool calls of the bundled model, through Ollama's own client: call, result, answer."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import ollama
import pytest

from tests.support.served import Process
from tests.support.transcripts import tool
from training import cases
from training.corpus import tools as corpus

pytestmark = [pytest.mark.real, pytest.mark.slow]

QUESTIONS = 60
WANTED = 0.95
"""Share of whole round trips; the printed figures say what was reached."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server of its own."""
    process = Process(tmp_path_factory.mktemp("tools") / "models")
    yield process
    process.close()


@pytest.fixture(scope="module")
def client(server: Process) -> Iterator[ollama.Client]:
    """A client of it."""
    client = ollama.Client(f"http://127.0.0.1:{server.port}")
    yield client
    client._client.close()


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


def chosen(server: Process, messages: list[Any], **fields: Any) -> dict[str, Any]:
    """The same with fields that the client does not know."""
    options = {"temperature": 0, "num_predict": 400}
    lines = server.ask(
        "POST", "/api/chat", model="tiny", messages=messages, options=options, **fields
    )
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    made = [ollama.Message.ToolCall.model_validate(call) for call in calls]
    return {"role": "assistant", "content": "", "tool_calls": made}


def round_trip(
    server: Process, client: ollama.Client, rng: random.Random, think: bool, choice: str
) -> tuple[bool, bool]:
    """Whether the right call was made, and whether its result was told."""
    wanted, offered = cases._offer(rng)
    result = corpus.result(rng, wanted.task.result, wanted.arguments)
    messages: list[Any] = [{"role": "user", "content": wanted.user}]
    if choice == "auto":
        first = said(client, messages, tools=offered, think=think)
    else:
        first = chosen(server, messages, tools=offered, think=think, tool_choice=choice)
    made = [(call.function.name, dict(call.function.arguments)) for call in first["tool_calls"]]
    if made != [(wanted.schema["name"], wanted.arguments)]:
        return False, False
    (call,) = first["tool_calls"]
    answer = {"role": "tool", "content": result, "tool_name": call.function.name}
    second = said(client, [*messages, first, answer], tools=offered, think=think)
    return True, result in second["content"] and not second["tool_calls"]


def test_a_required_call_is_made_whatever_is_asked(server: Process) -> None:
    """``tool_choice``: each answer is a call that keeps the schema, or names the wanted tool."""
    tools = [
        tool(
            "get_weather", city={"type": "string", "enum": ["Rome", "Oslo"]}, days={"enum": [1, 2]}
        ),
        tool("add", a={"enum": [1, 20]}, b={"enum": [3, 4]}),
    ]
    for one in tools:
        schema = one["function"]["parameters"]
        schema["required"] = list(schema["properties"])
    named = {"type": "function", "function": {"name": "add"}}
    asked = ["Hello!", "What is the capital of France?", "Tell me a story about a cat."]
    for text, think, choice in itertools.product(asked, [True, False], ["required", named]):
        body = {"messages": [{"role": "user", "content": text}], "tools": tools, "think": think}
        body |= {"tool_choice": choice, "options": {"temperature": 1, "num_predict": 400}}
        lines = server.ask("POST", "/api/chat", model="tiny", **body)
        calls = [call for line in lines for call in line["message"].get("tool_calls", ())]

        assert lines[-1]["done_reason"] == "stop", lines[-5:]
        assert "".join(line["message"]["content"] for line in lines) == ""
        assert calls
        for call in calls:
            schema = {one["function"]["name"]: one["function"]["parameters"] for one in tools}
            jsonschema.validate(call["function"]["arguments"], schema[call["function"]["name"]])
        if choice == named:
            assert [call["function"]["name"] for call in calls] == ["add"]


@pytest.mark.parametrize("think", [True, False])
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_calls_make_the_round(
    server: Process, client: ollama.Client, choice: str, think: bool
) -> None:
    """Held-out tools and names: the call, its result, the answer, all by streams."""
    rng = random.Random("first")
    trips = [round_trip(server, client, rng, think, choice) for _ in range(QUESTIONS)]
    called, told = sum(trip[0] for trip in trips), sum(trip[1] for trip in trips)
    print(  # noqa: T201
        f"\nthink={think}, tool_choice={choice}: {called}/{QUESTIONS} right calls, "
        f"{told} of them answered"
    )

    assert called >= WANTED * QUESTIONS
    assert told >= WANTED * QUESTIONS
