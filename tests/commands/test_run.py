"""One prompt, one answer: which request is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from trillama.base.errors import BadRequest
from trillama.commands.answer import RunOptions
from trillama.commands.run import run_once


class Server:
    """Has a model with these capabilities; keeps what it was asked."""

    def __init__(self, *capabilities: str) -> None:
        self.capabilities = list(capabilities)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call(self, _: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/api/show":
            return {"capabilities": self.capabilities}
        self.asked.append((path, body))
        return {"embeddings": [[0.25, -1.0]]}

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append((path, body))
        yield {"response": "Paris."}


def test_a_model_that_answers_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """The flags travel with the prompt; no prompt loads the model and prints nothing."""
    server = Server("completion")
    run_once(server, "m", "capital?", RunOptions(keepalive="5m"))  # type: ignore[arg-type]
    assert server.asked == [
        ("/api/generate", {"model": "m", "prompt": "capital?", "keep_alive": "5m"})
    ]
    assert capsys.readouterr().out == "Paris.\n\n"
    with pytest.raises(BadRequest, match="does not embed"):
        run_once(server, "m", "x", RunOptions(dimensions=2))  # type: ignore[arg-type]


def test_a_model_that_embeds_prints_a_vector(capsys: pytest.CaptureFixture[str]) -> None:
    """One line of JSON; there is nothing to embed in no text."""
    server = Server("embedding")
    run_once(server, "m", "text", RunOptions(dimensions=2, truncate=False))  # type: ignore[arg-type]
    body = {"model": "m", "input": "text", "truncate": False, "dimensions": 2}
    assert server.asked == [("/api/embed", body)]
    assert capsys.readouterr().out == "[0.25,-1.0]\n"
    with pytest.raises(BadRequest, match="require input text"):
        run_once(server, "m", "", RunOptions())  # type: ignore[arg-type]
