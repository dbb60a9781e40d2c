"""``trillama run MODEL`` on a terminal: a chat, line by line."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Protocol

from trillama.base.errors import TrillamaError
from trillama.base.settings import load_settings

from .answer import RunOptions, show_answer, statistics
from .client import Client, ServerDown
from .conversation import Conversation, Message, said
from .keyboard import Keyboard
from .pictures import pictures_in
from .slash import QUOTES, SYSTEM, choices, is_command, obey
from .waiting import await_server, awaited

LEAVE = ("/bye", "/exit")


class LineSource(Protocol):
    """Where lines come from: a ``Keyboard``, or a test."""

    def line(self, prompt: str) -> str:
        """One line; EOFError at the end, KeyboardInterrupt when it was given up."""

    def keep_history(self, kept: bool) -> None:
        """Keep what is typed from now on, or do not."""


def chat(client: Client, model: str, options: RunOptions) -> None:
    """Talk with a model on a terminal until ``/bye`` or the end of input.

    Raises:
        ServerRefused: the model cannot be loaded.
    """

    def models() -> list[str]:
        try:
            return [one["name"] for one in client.call("GET", "/api/tags")["models"] or ()]
        except TrillamaError:
            return []

    settings = load_settings()
    talk = Conversation(
        client=client, model=model, options=options, history=not settings.no_history
    )
    talk.load(model)
    replay(talk.shown.get("messages") or ())
    converse(talk, Keyboard(settings, lambda words: choices(words, models), talk.status))


def replay(messages: Iterable[Message]) -> None:
    """Show how the conversation of a model begins: what was asked and answered, nothing else."""
    for message in messages:
        if message["role"] == "user":
            print(f">>> {message['content']}")
        elif message["role"] == "assistant":
            print(f"{message['content']}\n")


def converse(talk: Conversation, lines: LineSource) -> None:
    """Answer what is typed; no error of the server's ends the chat."""
    while (message := _read(lines)) is not None:
        if is_command(message):
            try:
                obey(talk, message)
            except TrillamaError as error:
                print(f"Error: {error.message}\n", file=sys.stderr)
            except KeyboardInterrupt:
                print()
            lines.keep_history(talk.history)
        elif text := message.removeprefix(QUOTES):
            _answer(talk, text)


def _answer(talk: Conversation, text: str) -> None:
    """Ask and show; what the server will not answer is forgotten, and the chat goes on."""
    try:
        question = _question(talk, text)
        answer = _asked(talk, question)
    except TrillamaError as error:
        print(f"Error: {error.message}\n", file=sys.stderr)
        return
    except KeyboardInterrupt:
        print("\n")
        return
    print("\n")
    if answer or talk.last.get("done"):  # neither question nor answer of what was stopped before
        talk.messages += [question, said("assistant", answer)]
    if talk.options.verbose:
        sys.stderr.write(statistics(talk.last))


def _question(talk: Conversation, text: str) -> Message:
    found, images = pictures_in(text) if talk.sees else (text, [])
    return said("user", found, images)


def _asked(talk: Conversation, question: Message) -> str:
    """The answer, shown as it comes. A server that is away is waited for, up to a time."""
    try:
        return _show(talk, question)
    except ServerDown:
        await_server(talk.client)
        return _show(talk, question)


def _show(talk: Conversation, question: Message) -> str:
    records = talk.client.stream("/api/chat", talk.request(question))
    records = awaited(talk.client, talk.model, records, quiet=talk.options.quiet)
    text, talk.last = show_answer(records, _pick, talk.options)
    return text


def _pick(record: dict[str, Any]) -> tuple[str, str]:
    message = record.get("message", {})
    return message.get("thinking", ""), message.get("content", "")


def _read(lines: LineSource) -> str | None:
    """A message, behind three quotes if it began so, or a command; None at the end."""
    try:
        line = lines.line(">>> ").strip()
        command = SYSTEM if line.startswith(SYSTEM + QUOTES) else ""
        rest = line.removeprefix(command)
        if not rest.startswith(QUOTES):
            return None if line in LEAVE else line
        text = rest.removeprefix(QUOTES)
        while not text.rstrip().endswith(QUOTES):
            text += "\n" + lines.line("... ")
    except EOFError:
        print()
        return None
    except KeyboardInterrupt:
        print("\n\nUse Ctrl + d or /bye to exit.")
        return ""
    text = text.rstrip().removesuffix(QUOTES).strip()
    return command + text if command else QUOTES + text
