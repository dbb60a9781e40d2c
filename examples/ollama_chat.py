"""A chat with the client library of Ollama that is ready before the first question.

    python examples/ollama_chat.py --model tiny "What is the capital of France?"

The model is loaded first, by a request without a question, so that the first answer comes at once;
it then stays for ten minutes. Without a question on the command line, lines are read until the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable

import ollama


def warm_up(client: ollama.Client, model: str) -> None:
    """Load the model and keep it."""
    started = time.monotonic()
    client.generate(model, keep_alive="10m")
    print(f"({model} is ready after {time.monotonic() - started:.1f} s)", file=sys.stderr)


def chat(client: ollama.Client, model: str, questions: Iterable[str]) -> None:
    """Ask one after another; the conversation goes on."""
    messages: list[dict[str, str]] = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        answer = ""
        for part in client.chat(model, messages, stream=True, options={"temperature": 0}):
            text = part.message.content or ""
            print(text, end="", flush=True)
            answer += text
        print()
        messages.append({"role": "assistant", "content": answer})


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("questions", nargs="*")
    parser.add_argument("--url", default=None, help="OLLAMA_HOST, or this machine")
    parser.add_argument("--model", default="tiny")
    asked = parser.parse_args()
    client = ollama.Client(asked.url)
    warm_up(client, asked.model)
    chat(client, asked.model, asked.questions or map(str.strip, sys.stdin))


if __name__ == "__main__":
    main()
