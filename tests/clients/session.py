"""A scripted session: what every client is asked to do, and how it is noted what came of it.

Run as a program, so that each library lives in a process of its own: ``python -m
tests.clients.session CLIENT URL MODEL [FEATURE…]`` prints one JSON object, feature to "yes" or to
what went wrong, and then lives on until its input ends, so that nothing is closed by its end alone.
Nothing here reaches any other server.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from typing import Any, ClassVar

FEATURES = ("list", "chat", "stream", "tools", "structured", "embeddings", "errors", "cancel")
CLIENTS = (
    "openai", "anthropic", "ollama", "langchain_ollama", "litellm", "llm_ollama", "pydantic_ai",
    "npm:openai", "npm:anthropic", "npm:ollama",
)  # fmt: skip

QUESTION = "What is the capital of France?"
ANSWER = "Paris"
TOOL_QUESTION = "What is the weather in Oslo?"
TOOL_RESULT = "18 degrees"
STRUCTURED_QUESTION = "The capital of Italy, as JSON."
LONG_QUESTION = "Tell me a story."
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "Get the weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


WORDS: dict[str, Any] = {
    "features": FEATURES,
    "question": QUESTION,
    "answer": ANSWER,
    "tool_question": TOOL_QUESTION,
    "tool_result": TOOL_RESULT,
    "structured_question": STRUCTURED_QUESTION,
    "long_question": LONG_QUESTION,
    "schema": SCHEMA,
    "weather": WEATHER,
}
"""The session's words, for clients in another language."""


class Lacking(Exception):
    """The library cannot be had here, and why."""


def conversation(*messages: Any) -> list[Any]:
    """Messages; plain texts are the user's."""
    return [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages]


class Session:
    """One client; a feature is a method of its name, or a reason in ``without``.

    Attributes:
        without: features the library does not have, and why there is nothing to try.
    """

    without: ClassVar[dict[str, str]] = {}

    def __init__(self, url: str, model: str) -> None:
        self.url = url
        self.model = model

    def run(self, features: Sequence[str]) -> dict[str, str]:
        """What came of each feature."""
        return {feature: self._try(feature) for feature in features}

    def _try(self, feature: str) -> str:
        if feature in self.without:
            return f"– ({self.without[feature]})"
        try:
            getattr(self, feature)()
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            return f"no: {type(error).__name__}: {error}"[:300]
        return "yes"


def check(holds: object, seen: object) -> None:
    """Assertions that are there in every mode of Python."""
    if not holds:
        raise AssertionError(f"seen: {seen!r:.200}")


def main() -> None:
    """See the module's text."""
    name, url, model, *features = sys.argv[1:]
    module = importlib.import_module(f"tests.clients.{name}_session")
    client = module.Client(url, model)
    sys.stdout.write(json.dumps(client.run(features or FEATURES)) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
