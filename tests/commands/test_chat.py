"""A chat in a terminal, with a server and a keyboard that follow a script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from trillama.commands.answer import RunOptions
from trillama.commands.chat import chat
from trillama.commands.client import ServerRefused

CTRL_C, CTRL_D = KeyboardInterrupt(), EOFError()


class Server:
    """Repeats what it is told; "refuse" is refused, "hang" is interrupted in mid-answer."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def call(self, *_: Any) -> None:
        """The load."""

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append([message["content"] for message in body["messages"]])
        word = self.asked[-1][-1]
        if word == "refuse":
            raise ServerRefused(400, "too long", streaming=True)
        yield {"message": {"content": f"you said {word}"}}
        if word == "hang":
            raise CTRL_C
        yield {"message": {"content": "."}, "done": True}


def talk(monkeypatch: pytest.MonkeyPatch, *typed: str | BaseException) -> Server:
    """Type these lines, then Ctrl-D."""
    lines = iter([*typed, CTRL_D])

    def keyboard(prompt: str) -> str:
        line = next(lines)
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr("builtins.input", keyboard)
    server = Server()
    chat(server, "tiny", RunOptions())  # type: ignore[arg-type]
    assert next(lines, None) is None or "/bye" in typed
    return server


def test_the_conversation_is_sent_along_until_it_is_cleared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each question with what was said before; empty lines and commands are not sent."""
    server = talk(monkeypatch, "one", "", "/?", "two", "/clear", "/nonsense", "three")

    assert server.asked == [["one"], ["one", "you said one.", "two"], ["three"]]
    shown = capsys.readouterr().out
    assert "you said two.\n\n" in shown
    assert "Unknown command '/nonsense'. Type /? for help" in shown


def test_ctrl_c_ends_the_answer_and_not_the_chat(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was said until then stays in the conversation; at the prompt it tells how to leave."""
    server = talk(monkeypatch, "hang", CTRL_C, "two", "/bye", "never")

    assert server.asked[1] == ["hang", "you said hang", "two"]
    assert "Use Ctrl + d or /bye to exit." in capsys.readouterr().out


def test_a_refused_question_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is shown, the chat goes on without it."""
    server = talk(monkeypatch, "refuse", "two")

    assert server.asked[1] == ["two"]
    assert "too long" in capsys.readouterr().err


def test_quotes_hold_several_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """From three quotes to three quotes is one message, commands in it included."""
    server = talk(monkeypatch, '"""one', "/clear", 'two"""', '"""three"""')

    assert [asked[-1] for asked in server.asked] == ["one\n/clear\ntwo", "three"]
