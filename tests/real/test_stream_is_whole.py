"""What is streamed is what is not, with the bundled model: reasoning, text, calls, counts."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.session import LONG_QUESTION, QUESTION, TOOL_QUESTION, WEATHER
from tests.support.dialects import DIALECTS
from tests.support.heard import READERS, Heard, documents
from tests.support.house import Reply
from tests.support.served import Process

FUNCTION = {"type": "function", "function": WEATHER}
TOOLS: dict[str, Any] = {
    "chat": FUNCTION,
    "openai chat": FUNCTION,
    "openai responses": {"type": "function", **WEATHER},
    "anthropic": {"name": "get_weather", "input_schema": WEATHER["parameters"]},
}
PATHS = {name: path for name, (path, _) in DIALECTS.items() if name != "openai choices"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Process]:
    """One that keeps and guesses nothing, so that all counts are equal."""
    store = tmp_path_factory.mktemp("whole") / "models"
    running = Process(store, TRILLAMA_PREFIX_CACHE="false", TRILLAMA_SPECULATION="false")
    yield running
    running.close()


def body(dialect: str, question: str, stream: bool) -> dict[str, Any]:
    """A question, greedy, with a tool where the dialect has them."""
    found: dict[str, Any] = {"model": "tiny", "stream": stream}
    native = PATHS[dialect].startswith("/api/")
    found |= {"options": {"temperature": 0, "num_predict": 90}} if native else {"temperature": 0}
    asked = "prompt" if "generate" in dialect or "completions" in dialect else "input"
    said = {"messages": [{"role": "user", "content": question}]}
    found |= said if "chat" in dialect or dialect == "anthropic" else {asked: question}
    if not native:
        found["max_output_tokens" if "responses" in dialect else "max_tokens"] = 90
    if stream and READERS[dialect].__name__ == "choices":
        found["stream_options"] = {"include_usage": True}
    if dialect in TOOLS:
        found["tools"] = [TOOLS[dialect]]
    if dialect == "anthropic":
        found["thinking"] = {"type": "enabled", "budget_tokens": 50}
    return found


def heard(server: Process, dialect: str, question: str, stream: bool) -> list[Heard]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    asked = json.dumps(body(dialect, question, stream))
    connection.request("POST", PATHS[dialect], asked)
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    reply = Reply(answer.status, headers, answer.read())
    connection.close()
    assert reply.status == 200, reply.body
    return READERS[dialect](documents(reply))


@pytest.mark.parametrize("dialect", PATHS)
def test_a_stream_says_what_the_whole_says(server: Process, dialect: str) -> None:
    """Answers that end, that call a tool, and that are cut."""
    calls = 0
    for question in (QUESTION, TOOL_QUESTION, LONG_QUESTION):
        whole = heard(server, dialect, question, stream=False)
        assert heard(server, dialect, question, stream=True) == whole
        calls += len(whole[0].calls)
    assert (calls > 0) == (dialect in TOOLS)
