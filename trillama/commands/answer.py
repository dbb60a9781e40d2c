"""One answer on its way to the screen: its flags, its thinking, its words and its timings."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import msgspec

from trillama.base.durations import format_duration, parse_duration
from trillama.base.errors import BadRequest, TrillamaError

from .console import Wrapper

GREY, BOLD, PLAIN = "\x1b[38;5;245m", "\x1b[1m", "\x1b[0m"
UNKNOWN_WIDTH = 80
THINK_WORDS = {"": True, "true": True, "false": False}
THINK_LEVELS = ("high", "medium", "low", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The flags of ``run``; see ``trillama run --help``."""

    keepalive: str = ""
    verbose: bool = False
    nowordwrap: bool = False
    format: str = ""
    think: str | None = None
    hidethinking: bool = False
    truncate: bool | None = None
    dimensions: int = 0
    markdown: bool = False
    quiet: bool = False

    def request(self) -> dict[str, Any]:
        """The fields these flags put into a request for an answer.

        Raises:
            BadRequest: a flag has a value no server would understand.
        """
        fields = self.keeping()
        if self.format:
            fields["format"] = format_value(self.format)
        if self.think is not None:
            fields["think"] = think_value(self.think)
        return fields

    def keeping(self) -> dict[str, Any]:
        """How long the model shall stay, if that was said.

        Raises:
            BadRequest: it was not said as a duration.
        """
        if not self.keepalive:
            return {}
        try:
            return {"keep_alive": -1 if parse_duration(self.keepalive) < 0 else self.keepalive}
        except ValueError as error:
            raise BadRequest(str(error)) from None

    def embedding(self) -> dict[str, Any]:
        """The fields that only models that embed have a use for."""
        given = {"truncate": self.truncate, "dimensions": self.dimensions or None}
        return {name: value for name, value in given.items() if value is not None}


def format_value(word: str) -> Any:
    """What ``--format`` means on the wire: ``json``, a JSON schema, or a file with one.

    Raises:
        BadRequest: none of these.
    """
    if word == "json":
        return word
    try:
        text = word if word.lstrip().startswith("{") else Path(word).read_text("utf-8")
        schema = msgspec.json.decode(text)
    except (
        OSError,
        ValueError,
    ) as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadRequest(
            f'invalid value for --format: "{word}" (must be json, a JSON schema, '
            f"or a file with one: {reason})"
        ) from None
    if not isinstance(schema, dict):
        raise BadRequest(f'invalid value for --format: "{word}" holds no JSON object')
    return schema


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


def terminal_width(out: TextIO) -> int:
    """Columns of a terminal as it is now; what the environment says may be of another one."""
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(out.fileno()).columns or UNKNOWN_WIDTH
    return UNKNOWN_WIDTH


class Shower:
    """Prints an answer as it comes: thinking dimmed and labelled, then the text.

    Args:
        out: where the answer goes.
        options: which parts to show and whether to wrap.
    """

    def __init__(self, out: TextIO, options: RunOptions) -> None:
        self._terminal = out.isatty()
        width = terminal_width(out) if self._terminal else 0
        self._out = Wrapper(out, 0 if options.nowordwrap else width)
        self._markdown = None
        if self._terminal and options.markdown:
            from .markdown import MarkdownWriter  # rich, which nobody else here waits for

            self._markdown = MarkdownWriter(out, width)
        self._hide = options.hidethinking
        self._thinking = self._begun = False
        self._line_open = False

    def thinking(self, text: str) -> None:
        """Show a piece of thinking."""
        if self._hide or not text:
            return
        if not self._thinking:
            self._label("Thinking...", GREY)
            self._out.write("\n")
            self._thinking = self._begun = True
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
        self._begun = True
        (self._markdown or self._out).write(text)

    def close(self) -> None:
        """Leave the terminal as it was, wherever the answer ended."""
        if self._markdown:
            self._markdown.close()
        if self._thinking:
            self._style(PLAIN)

    def break_off(self) -> None:
        """End the line that was begun, on a terminal; what goes into a file ends where it ends."""
        if self._terminal and self._begun:
            self._out.write("\n")

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
    """Print a stream of records; Ctrl-C ends it quietly, and trouble begins a line of its own.

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
    except TrillamaError:
        shower.break_off()
        raise
    finally:
        shower.close()
    return "".join(parts), last
