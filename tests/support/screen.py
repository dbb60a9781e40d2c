"""A terminal for tests: tmux types, and reads what is on the screen."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

PATIENCE = 20.0
needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Screen:
    """A command in a terminal of its own.

    Args:
        folder: where it runs, and the socket of tmux lies; short, since the path of a socket is.
        command: what the shell of the terminal runs.
    """

    def __init__(self, folder: Path, command: str, *, columns: int = 80, rows: int = 30) -> None:
        self._socket = str(folder / "tmux")
        size = ["-x", str(columns), "-y", str(rows)]
        self._tmux("-f", "/dev/null", "new-session", "-d", "-c", str(folder), *size, command)

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-u", "-S", self._socket, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def type(self, *keys: str) -> None:
        """Keys by their names in tmux, or text."""
        self._tmux("send-keys", *keys)

    def shown(self) -> str:
        """What is on the screen now."""
        return self._tmux("capture-pane", "-p")

    def until(self, *texts: str, times: int = 1) -> str:
        """The screen, once it shows each of the texts so many times."""
        deadline = time.monotonic() + PATIENCE
        while any((shown := self.shown()).count(text) < times for text in texts):
            assert time.monotonic() < deadline, f"no {texts} x{times} on:\n{shown}"
        return shown

    def close(self) -> None:
        """End tmux and what runs in it."""
        self._tmux("kill-server")


def command_line(words: Sequence[str], environ: dict[str, str]) -> str:
    """A command for a shell, with these variables beside the usual ones."""
    settings = [f"{name}={value}" for name, value in environ.items()]
    return " ".join(["env", *settings, "LC_ALL=C.UTF-8", *words])
