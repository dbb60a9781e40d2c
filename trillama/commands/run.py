"""``trillama run``: one answer to one prompt, or a chat on a terminal."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from trillama.base.durations import format_duration, parse_duration
from trillama.base.errors import BadRequest

from .client import Client, ServerRefused
from .console import Wrapper

GREY, BOLD, PLAIN = "\x1b[38;5;245m", "\x1b[1m", "\x1b[0m"
QUOTES = '"""'
HELP = f"""  /clear   forget the conversation
  /bye     leave (so does Ctrl + d); Ctrl + c ends an answer
  /?       this list

Begin and end a message of several lines with {QUOTES}.
"""
THINK_WORDS = {"": True, "true": True, "false": False}
THINK_LEVELS = ("high", "medium", "low", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The flags of ``run``; see ``trillama run --help``."""

    keepalive: str = ""
    verbose: bool = False
    nowordwrap: bool = False
    think: str | None = None
    hidethinking: bool = False

    def request(self) -> dict[str, Any]:
        """The fields these flags put into a request.

        Raises:
            BadRequest: a flag has a value no server would understand.
        """
        fields: dict[str, Any] = {}
        if self.keepalive:
            try:
                fields["keep_alive"] = -1 if parse_duration(self.keepalive) < 0 else self.keepalive
            except ValueError as error:
                raise BadRequest(str(error)) from None
        if self.think is not None:
            fields["think"] = think_value(self.think)
        return fields


def think_value(word: str) -> bool | str:
    """What ``--think`` means on the wire.

    Raises:
        BadRequest: none of the words the flag takes.
    """
    if word in THINK_LEVELS:
        return word
    if word not in THINK_WORDS:
        raise BadRequest(
            f'invalid value for --think: "{word}" (must be true, false, high, medium, low, or max)'
        )
    return THINK_WORDS[word]


class Shower:
    """Prints an answer as it comes: thinking dimmed and labelled, then the text.

    Args:
        out: where the answer goes.
        options: which parts to show and whether to wrap.
    """

    def __init__(self, out: TextIO, options: RunOptions) -> None:
        self._terminal = out.isatty()
        width = shutil.get_terminal_size().columns if self._terminal else 0
        self._out = Wrapper(out, 0 if options.nowordwrap else width)
        self._hide = options.hidethinking
        self._thinking = False
        self._line_open = False

    def thinking(self, text: str) -> None:
        """Show a piece of thinking."""
        if self._hide or not text:
            return
        if not self._thinking:
            self._label("Thinking...", GREY)
            self._out.write("\n")
            self._thinking = True
        self._out.write(text)
        self._line_open = not text.endswith("\n")

    def content(self, text: str) -> None:
        """Show a piece of the answer."""
        if not text:
            return
        if self._thinking:
            self._out.write("\n" if self._line_open else "")
            self._label("...done thinking.", PLAIN)
            self._out.write("\n\n")
            self._thinking = False
        self._out.write(text)

    def close(self) -> None:
        """Leave the terminal as it was, wherever the answer ended."""
        if self._thinking:
            self._style(PLAIN)

    def _label(self, text: str, after: str) -> None:
        self._style(GREY + BOLD)
        self._out.write(text)
        self._style(PLAIN + after)

    def _style(self, code: str) -> None:
        if self._terminal:
            self._out.style(code)


def statistics(record: dict[str, Any]) -> str:
    """The lines of ``--verbose``, from a final record."""
    lines = []

    def line(label: str, value: str) -> None:
        lines.append(f"{label + ':':<22}{value}\n")

    for key in ("total_duration", "load_duration"):
        if record.get(key):
            line(key.replace("_", " "), format_duration(record[key]))
    for key in ("prompt_eval", "eval"):
        count, ns = record.get(f"{key}_count", 0), record.get(f"{key}_duration", 0)
        name = key.replace("_", " ")
        if count:
            line(f"{name} count", f"{count} token(s)")
        if ns:
            line(f"{name} duration", format_duration(ns))
            line(f"{name} rate", f"{count / ns * 1e9:.2f} tokens/s")
    return "".join(lines)


def show_answer(
    records: Iterator[dict[str, Any]],
    pick: Callable[[dict[str, Any]], tuple[str, str]],
    options: RunOptions,
) -> tuple[str, dict[str, Any]]:
    """Print a stream of records; Ctrl-C ends it quietly.

    Args:
        pick: thinking and text of a record.

    Returns:
        the whole text, and the last record.
    """
    shower, parts, last = Shower(sys.stdout, options), [], dict[str, Any]()
    try:
        for record in records:
            thinking, text = pick(record)
            shower.thinking(thinking)
            shower.content(text)
            parts.append(text)
            last = record
    except KeyboardInterrupt:
        records.close()  # type: ignore[attr-defined]  # generators have it, iterators need not
    finally:
        shower.close()
    return "".join(parts), last


def run_once(client: Client, model: str, prompt: str, options: RunOptions) -> None:
    """Generate one answer and print it; an empty prompt only loads the model."""
    body = {"model": model, "prompt": prompt, **options.request()}
    records = client.stream("/api/generate", body)
    _, last = show_answer(
        records, lambda r: (r.get("thinking", ""), r.get("response", "")), options
    )
    if prompt:
        print("\n")
    if options.verbose:
        sys.stderr.write(statistics(last))


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
