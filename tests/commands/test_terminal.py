"""The chat on a real terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.screen import Screen, command_line, needs_tmux
from tests.support.scripted import Scripted, scripted_server

pytestmark = needs_tmux
ANSWER = "A quick brown fox 模型 jumps over the lazy dog"


def chat_in(folder: Path, port: int, columns: int) -> Screen:
    """A chat in a terminal of so many columns; how it ended is left on the screen."""
    environ = {"OLLAMA_HOST": f"127.0.0.1:{port}", "HOME": str(folder)}
    command = command_line([sys.executable, "-m", "trillama", "run", "tiny"], environ)
    return Screen(folder, f"{command}; printf 'left with %s' $?; read _", columns=columns)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A server that knows one answer."""
    with scripted_server() as script:
        words = [{"message": {"content": f"{word} "}} for word in ANSWER.split()]
        script.answers |= {
            "/api/chat": (200, [{"message": {"thinking": "Hm."}}, *words, {"done": True}]),
            "/api/show": (200, {"capabilities": ["completion"]}),
            "/api/tags": (200, {"models": [{"name": "tiny:latest"}]}),
        }
        yield script


@pytest.mark.parametrize("columns", [80, 40])
def test_a_chat_on_a_terminal(tmp_path: Path, scripted: Scripted, columns: int) -> None:
    """Questions, Tab, an unknown command, Ctrl-C at the prompt and /bye; words are not cut."""
    screen = chat_in(tmp_path, scripted.port, columns)
    try:
        screen.until(">>> Send a message (/? for help)")
        screen.type("hello", "Enter")
        shown = screen.until("dog")
        assert "Thinking...\nHm.\n...done thinking.\n\n" in shown
        answer = shown.split("done thinking.")[1].split(">>>")[0]
        assert answer.split() == ANSWER.split(), shown
        assert len(answer.strip().splitlines()) == (1 if columns == 80 else 2)
        screen.until(">>> Send")
        screen.type("/nonsense", "Enter")
        screen.until("Unknown command '/nonsense'. Type /?")
        screen.type("/load ti", "Tab")
        screen.until("/load tiny:latest")
        screen.type("C-c")
        screen.until("Use Ctrl + d or /bye to exit.")
        screen.type("/bye", "Enter")
        screen.until("left with 0")
    finally:
        screen.close()
    assert (tmp_path / ".ollama" / "history").read_text("utf-8").splitlines()[0] == "hello"


def test_ctrl_z_gives_the_shell_back(tmp_path: Path, scripted: Scripted) -> None:
    """As for any program; brought back, the chat goes on with what was half typed."""
    environ = {"OLLAMA_HOST": f"127.0.0.1:{scripted.port}", "HOME": str(tmp_path)}
    screen = Screen(tmp_path, "bash --norc --noprofile -i")
    try:
        screen.type(command_line([sys.executable, "-m", "trillama", "run", "tiny"], environ))
        screen.type("Enter")
        screen.until(">>> Send a message (/? for help)")
        screen.type("hel", "C-z")
        screen.until("Stopped")
        screen.type("fg", "Enter")
        screen.until("fg\n", ">>> hel")
        screen.type("lo", "Enter")
        screen.until(">>> hello", "dog")
    finally:
        screen.close()
