"""The chat on a real terminal: tmux types, and reads what is on the screen."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted import Scripted, scripted_server

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
PATIENCE = 20.0
ANSWER = "A quick brown fox 模型 jumps over the lazy dog"


class Screen:
    """A chat in a terminal of so many columns."""

    def __init__(self, folder: Path, port: int, columns: int) -> None:
        self._socket = str(folder / "tmux")
        words = ["env", f"OLLAMA_HOST=127.0.0.1:{port}", f"HOME={folder}", "LC_ALL=C.UTF-8"]
        words += [sys.executable, "-m", "trillama", "run", "tiny"]
        keep = "; printf 'left with %s' $?; read _"
        command = " ".join(words) + keep
        size = ["-x", str(columns), "-y", "30"]
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, command)

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-u", "-S", self._socket, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def type(self, *keys: str) -> None:
        """Keys by their names in tmux, or text."""
        self._tmux("send-keys", *keys)

    def until(self, text: str, times: int = 1) -> str:
        """The screen, once it shows a text so many times."""
        deadline = time.monotonic() + PATIENCE
        while (shown := self._tmux("capture-pane", "-p")).count(text) < times:
            assert time.monotonic() < deadline, shown
        return shown

    def close(self) -> None:
        """End tmux and what runs in it."""
        self._tmux("kill-server")


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
    screen = Screen(tmp_path, scripted.port, columns)
    try:
        screen.until(">>> Send a message (/? for help)")
        screen.type("hello", "Enter")
        shown = screen.until("dog")
        assert "Thinking...\nHm.\n...done thinking.\n\n" in shown
        answer = shown.split("done thinking.")[1].split(">>>")[0]
        assert answer.split() == ANSWER.split(), shown
        assert len(answer.strip().splitlines()) == (1 if columns == 80 else 2)
        screen.until(">>> Send", 1)
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
