"""A chat in a terminal, with a server and a keyboard that follow a script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trillama.base.errors import TrillamaError
from trillama.commands.answer import RunOptions
from trillama.commands.chat import converse, replay
from trillama.commands.client import ServerDown, ServerRefused
from trillama.commands.conversation import Conversation

CTRL_C, CTRL_D = KeyboardInterrupt(), EOFError()
SHOWN = {
    "license": "MIT",
    "modelfile": "FROM x",
    "parameters": "stop    x",
    "system": "",
    "template": "{{ .Prompt }}",
    "capabilities": ["completion"],
    "details": {},
    "model_info": {"general.architecture": "llama"},
}


class Server:
    """Repeats what it is told; some words are refused, interrupted or fatal to it."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.calls: list[tuple[str, Any]] = []
        self.restarts = 1

    def check(self) -> None:
        """It is back at the first look."""

    @property
    def asked(self) -> list[list[str]]:
        """The contents of each question's messages."""
        return [[message["content"] for message in body["messages"]] for body in self.bodies]

    def call(self, _: str, path: str, body: Any = None) -> Any:
        self.calls.append((path, body))
        if body and body["model"] == "nowhere":
            raise ServerRefused(404, "model 'nowhere' not found")
        return SHOWN if path == "/api/show" else {"models": []}

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if path == "/api/create":
            self.calls.append((path, body))
            if body["model"] == "?":
                raise ServerRefused(400, "invalid model name", streaming=True)
            return
        self.bodies.append(body)
        word = self.asked[-1][-1]
        errors: dict[str, TrillamaError] = {
            "refuse": ServerRefused(400, "too long", streaming=True),
            "down": ServerDown(),
        }
        if word in errors:
            raise errors[word]
        if word == "restart" and self.restarts:
            self.restarts -= 1
            raise ServerDown
        if word == "mute":
            raise CTRL_C
        yield {"message": {"content": f"you said {word}"}}
        if word == "hang":
            raise CTRL_C
        yield {"message": {"content": "."}, "done": True, "eval_count": 7}


class Typed:
    """A keyboard on which these lines are typed, then Ctrl-D."""

    def __init__(self, *lines: str | BaseException) -> None:
        self.left = [*lines, CTRL_D]
        self.kept: list[bool] = []

    def line(self, _: str) -> str:
        line = self.left.pop(0)
        if isinstance(line, BaseException):
            raise line
        return line

    def keep_history(self, kept: bool) -> None:
        self.kept.append(kept)


def talk(*lines: str | BaseException, **flags: Any) -> tuple[Server, Typed]:
    """A chat of these lines."""
    server, typed = Server(), Typed(*lines)
    conversation = Conversation(
        client=server,  # type: ignore[arg-type]
        model="tiny",
        options=RunOptions(**flags),
        shown=SHOWN,
    )
    converse(conversation, typed)
    assert typed.left == [] or "/bye" in lines
    return server, typed


def test_the_conversation_is_sent_along_until_it_is_cleared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each question with what was said before; empty lines and commands are not sent."""
    server, _ = talk("one", "", "/?", "two", "/clear", "/nonsense", "three")

    assert server.asked == [["one"], ["one", "you said one.", "two"], ["three"]]
    shown = capsys.readouterr()
    assert "you said two.\n\n" in shown.out
    assert "Unknown command '/nonsense'. Type /? for help" in shown.out
    assert "/load <model>" in shown.err


def test_a_pasted_text_that_begins_with_a_slash_is_a_message() -> None:
    """Code does, with a comment; a command of several lines is one all the same."""
    code = "// add.c\nint add(int a, int b);"
    server, _ = talk(code, "// add.c", "/set system be brief\nand kind")

    assert server.asked == [[code]]


def test_an_empty_message_is_not_sent() -> None:
    """Quotes around nothing are nothing."""
    server, _ = talk('""""""', '"""', " ", '"""', "one")
    assert server.asked == [["one"]]


def test_a_models_own_messages_are_shown_as_they_were_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Questions behind the prompt, answers with a line between; instructions are no answers."""
    roles = ("system", "user", "assistant", "tool")
    replay([{"role": role, "content": f"a {role} said"} for role in roles])
    assert capsys.readouterr().out == ">>> a user said\na assistant said\n\n"


def test_ctrl_c_ends_the_answer_and_not_the_chat(capsys: pytest.CaptureFixture[str]) -> None:
    """What was said until then stays in the conversation; at the prompt it tells how to leave."""
    server, _ = talk("hang", CTRL_C, "two", "/bye", "never")

    assert server.asked[1] == ["hang", "you said hang", "two"]
    assert "Use Ctrl + d or /bye to exit." in capsys.readouterr().out


def test_a_question_stopped_before_its_answer_was_never_asked() -> None:
    """An empty answer to it would be read by the model with the next question."""
    server, _ = talk("mute", "two")
    assert server.asked[1] == ["two"]


@pytest.mark.parametrize(
    ("word", "reason"), [("refuse", "too long"), ("down", "could not connect")]
)
def test_a_failed_question_is_forgotten(
    word: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is shown, the chat goes on without it, also when the server comes back."""
    server, _ = talk("one", word, "two")

    assert server.asked[-1] == ["one", "you said one.", "two"]
    assert reason in capsys.readouterr().err


def test_a_server_that_restarts_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """The question is asked again, with all that was said before."""
    server, _ = talk("one", "restart", "two")

    conversation = ["one", "you said one.", "restart"]
    assert server.asked[1:3] == [conversation, conversation]
    assert server.asked[-1] == [*conversation, "you said restart.", "two"]
    assert "waiting for the server" in capsys.readouterr().err


def test_pictures_go_along_where_the_model_sees(tmp_path: Path) -> None:
    """Their paths leave the text; a model that does not see gets the text as it is."""
    picture = tmp_path / "a b.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\nrest")
    line = f"what is in {tmp_path}/a\\ b.png ?"
    for capabilities, text in ((["vision"], "what is in  ?"), ([], line)):
        server, typed = Server(), Typed(line)
        shown = SHOWN | {"capabilities": ["completion", *capabilities]}
        options = RunOptions()
        conversation = Conversation(client=server, model="m", options=options, shown=shown)  # type: ignore[arg-type]
        converse(conversation, typed)
        message = server.bodies[0]["messages"][-1]
        assert message["content"] == text
        assert ("images" in message) == bool(capabilities)


def test_the_status_line_tells_model_tokens_and_speed() -> None:
    """Of the latest answer; before the first and after a clearing only the model."""
    talk = Conversation(client=Server(), model="tiny", options=RunOptions())  # type: ignore[arg-type]
    assert talk.status() == "tiny"
    talk.last = {"prompt_eval_count": 30, "eval_count": 20, "eval_duration": 500_000_000}
    assert talk.status() == "tiny · 50 tokens · 40.0 tokens/s"
    talk.clear()
    assert talk.status() == "tiny"


def test_quotes_hold_several_lines() -> None:
    """From three quotes to three quotes is one message, commands in it included."""
    server, _ = talk('"""one', "/clear", 'two"""', '"""three"""', '"""half', CTRL_C, "whole")

    said = [asked[-1] for asked in server.asked]
    assert said == ["one\n/clear\ntwo", "three", "whole"]


def test_what_is_set_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """Parameters with their types, system, format and thinking, until they are taken back."""
    server, _ = talk(
        "/set parameter temperature 0.5",
        "/set parameter seed 7",
        "/set parameter stop a b",
        "/set parameter seed x",
        "/set parameter frob 1",
        "/set system Be   brief.",
        "/set format json",
        "/set think low",
        "one",
        "/set noformat",
        "/set nothink",
        "/set format xml",
        "/set frob",
        "two",
    )
    first, second = server.bodies
    assert first["options"] == {"temperature": 0.5, "seed": 7, "stop": ["a", "b"]}
    assert first["messages"][0] == {"role": "system", "content": "Be   brief."}
    assert (first["format"], first["think"]) == ("json", "low")
    assert (second.get("format"), second["think"]) == (None, False)
    shown = capsys.readouterr()
    for line in (
        "Set parameter 'stop' to 'a, b'",
        'Couldn\'t set parameter: "invalid int value [x]"',
        "Couldn't set parameter: \"unknown parameter 'frob'\"",
        "Set system message.",
        "Set format to 'json' mode.",
        "Set 'think' mode to 'low'.",
        "Disabled format.",
        "Set 'nothink' mode.",
        "Invalid or missing format. For 'json' mode use '/set format json'",
        "Unknown command '/set frob'. Type /? for help",
    ):
        assert f"{line}\n" in shown.out
    assert 'warning: model "tiny" does not support thinking output' in shown.err


def test_a_system_text_may_have_lines_and_outlives_a_clearing() -> None:
    """Three quotes hold it together; a later one right behind takes its place."""
    server, _ = talk("/set system x", '/set system """a', 'b"""', "one", "/clear", "two")

    assert server.asked == [["a\nb", "one"], ["a\nb", "two"]]


def test_modes_change_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Timings come and go; history is kept or not as told last."""
    _, typed = talk("/set verbose", "one", "/set quiet", "two", "/set nohistory", "/set history")

    assert capsys.readouterr().err.count("eval count:") == 1
    assert typed.kept[-2:] == [False, True]


def test_a_session_becomes_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    """With its system text, parameters and messages; a bad name does not end the chat."""
    server, _ = talk(
        "/set system S", "/set parameter top_k 3", "hi", "/save me", "/save ?", "/save"
    )

    assert server.calls[0] == (
        "/api/create",
        {
            "model": "me",
            "from": "tiny",
            "system": "S",
            "parameters": {"top_k": 3},
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "you said hi."},
            ],
        },
    )
    shown = capsys.readouterr().out
    assert "Created new model 'me'\n" in shown
    assert "error: The model name '?' is invalid\n" in shown
    assert "Usage:\n  /save <modelname>\n" in shown


def test_another_model_starts_afresh(capsys: pytest.CaptureFixture[str]) -> None:
    """Loaded before it is talked to; where it is missing, the old one and its talk stay."""
    server, _ = talk("one", "/load nowhere", "two", "/load other", "three", "/load")

    assert server.asked[1] == ["one", "you said one.", "two"]
    assert server.asked[2] == ["three"]
    assert [body["model"] for body in server.bodies] == ["tiny", "tiny", "other"]
    shown = capsys.readouterr().out
    assert "Couldn't find model 'nowhere'\n" in shown
    assert "Loading model 'other'\n" in shown


def test_a_model_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Each text, or that there is none; the session's own changes with it."""
    talk("/show license", "/show system", "/show template", "/show", "/show frob", "/show info")
    shown = capsys.readouterr()
    assert shown.out == (
        "MIT\nNo system message was specified for this model.\n\n{{ .Prompt }}\n"
        "Unknown command '/show frob'. Type /? for help\n\n"
    )
    assert "/show modelfile" in shown.err
    assert "architecture    llama" in shown.err

    server, _ = talk(
        "/set parameter seed 7", "/set system S", "/show parameters", "/show modelfile"
    )
    body = {"model": "tiny", "system": "S", "options": {"seed": 7}}
    assert server.calls == [("/api/show", body)] * 2
    assert (
        "Model defined parameters:\n  stop    x\n\n"
        "User defined parameters:\n  seed                           7\n"
    ) in capsys.readouterr().out
