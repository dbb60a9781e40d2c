"""``trillama run MODEL`` on a terminal: a chat."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from .answer import RunOptions, show_answer, statistics
from .client import Client, ServerRefused

QUOTES = '"""'
HELP = f"""  /clear   forget the conversation
  /bye     leave (so does Ctrl + d); Ctrl + c ends an answer
  /?       this list

Begin and end a message of several lines with {QUOTES}.
"""


def chat(client: Client, model: str, options: RunOptions) -> None:
    """Talk with a model line by line until ``/bye`` or the end of input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # gives input() its keys and its history
    request = options.request()
    client.call("POST", "/api/generate", {"model": model, "stream": False, **request})
    messages: list[dict[str, str]] = []
    while (line := _read_line()) is not None:
        if line == "/clear":
            messages.clear()
            print("Cleared session context")
        elif line in ("/?", "/help"):
            print(HELP)
        elif line.startswith("/"):
            print(f"Unknown command '{line}'. Type /? for help")
        elif line:
            body = {"model": model, "messages": [*messages, _said("user", line)], **request}
            if (text := _answer(client, body, options)) is not None:
                messages += [_said("user", line), _said("assistant", text)]


def _said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def _answer(client: Client, body: dict[str, Any], options: RunOptions) -> str | None:
    """Ask and show; None, and a line on standard error, when the server will not answer this."""
    try:
        text, last = show_answer(client.stream("/api/chat", body), _pick_message, options)
    except ServerRefused as error:
        print(f"Error: {error.message}\n", file=sys.stderr)
        return None
    print("\n")
    if options.verbose:
        sys.stderr.write(statistics(last))
    return text


def _pick_message(record: dict[str, Any]) -> tuple[str, str]:
    message = record.get("message", {})
    return message.get("thinking", ""), message.get("content", "")


def _read_line() -> str | None:
    """What was typed, \"\"\"several lines\"\"\" as one; None at the end."""
    try:
        line = input(">>> ").strip()
        if line.startswith(QUOTES):
            return _until_quotes(line.removeprefix(QUOTES))
    except EOFError:
        print()
        return None
    except KeyboardInterrupt:
        print("\n\nUse Ctrl + d or /bye to exit.")
        return ""
    return None if line in ("/bye", "/exit") else line


def _until_quotes(text: str) -> str:
    while not text.rstrip().endswith(QUOTES):
        text += "\n" + input("... ")
    return text.rstrip().removesuffix(QUOTES).strip()
