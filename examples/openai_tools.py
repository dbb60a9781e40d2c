"""A question that needs a tool, with OpenAI's client library.

    python examples/openai_tools.py --model tiny

The model asks for a function to be called, this program calls it, and the model answers with what
came of it. ``tool_choice="required"`` makes it ask, whatever it would rather do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import openai

TEMPERATURES = {"Oslo": 4, "Rome": 18, "Cairo": 29}


def get_weather(city: str) -> str:
    """Get the weather in a city"""
    return f"{TEMPERATURES.get(city, 15)} degrees"


TOOLS: dict[str, Callable[..., str]] = {"get_weather": get_weather}
DEFINITIONS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": get_weather.__doc__,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def ask(client: openai.OpenAI, model: str, question: str) -> str:
    """The answer, after the calls it needed."""
    messages: list[Any] = [{"role": "user", "content": question}]
    fields: dict[str, Any] = {"model": model, "tools": DEFINITIONS, "temperature": 0}
    first = (
        client.chat.completions.create(messages=messages, tool_choice="required", **fields)
        .choices[0]
        .message
    )
    messages.append(first.model_dump(exclude_none=True))
    for call in first.tool_calls or []:
        arguments = json.loads(call.function.arguments)
        result = TOOLS[call.function.name](**arguments)
        print(f"{call.function.name}({arguments}) -> {result}")
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    last = client.chat.completions.create(messages=messages, **fields)
    return last.choices[0].message.content or ""


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", nargs="?", default="What is the weather in Oslo?")
    parser.add_argument("--url", default="http://127.0.0.1:11434")
    parser.add_argument("--model", default="tiny")
    asked = parser.parse_args()
    with openai.OpenAI(api_key="any", base_url=f"{asked.url}/v1") as client:
        print(ask(client, asked.model, asked.question))


if __name__ == "__main__":
    main()
