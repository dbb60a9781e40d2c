"""The command line as people use it: a shell on a terminal, a server, the bundled model."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.screen import Screen, command_line, needs_tmux
from tests.support.served import Process
from trillama.commands.console import WRAP_MARGIN, display_width

pytestmark = needs_tmux
PROMPT = "ready$"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Process]:
    """One server for the tests of this file."""
    running = Process(tmp_path_factory.mktemp("server") / "models")
    yield running
    running.close()


class Shell(Screen):
    """A shell in which ``trillama`` is our command line."""

    def __init__(self, folder: Path, port: int, *, columns: int = 80) -> None:
        program = folder / "bin" / "trillama"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m trillama "$@"\n')
        program.chmod(0o755)
        environ = {"OLLAMA_HOST": f"127.0.0.1:{port}", "HOME": str(folder), "ENV": "/dev/null"}
        environ |= {"PS1": f"'{PROMPT} '", "PATH": f"{program.parent}:/usr/bin:/bin"}
        environ |= {"PYTHONPATH": str(Path(__file__).parents[2])}
        super().__init__(folder, command_line(["sh", "-i"], environ), columns=columns, rows=40)
        self.columns = columns
        self.until(PROMPT)

    def enter(self, line: str) -> None:
        """Type a line."""
        self.type("-l", line)
        self.type("Enter")


@pytest.fixture(params=[80, 40])
def shell(request: pytest.FixtureRequest, tmp_path: Path, server: Process) -> Iterator[Shell]:
    """A terminal of 80 and one of 40 columns."""
    screen = Shell(tmp_path, server.port, columns=request.param)
    yield screen
    screen.close()


@pytest.fixture
def wide(tmp_path: Path, server: Process) -> Iterator[Shell]:
    """A terminal of 80 columns."""
    screen = Shell(tmp_path, server.port)
    yield screen
    screen.close()


def test_one_question(shell: Shell) -> None:
    """The answer, a blank line, the shell again."""
    shell.enter('trillama run tiny --think=false "Repeat: QX-7731"')
    shown = shell.until(PROMPT, times=2)
    assert "QX-7731" in shown.split('7731"', 1)[1]


def test_a_piped_question(wide: Shell) -> None:
    """What comes from a pipe is put before the words."""
    wide.enter("echo QX-7731 | trillama run tiny --think=false 'Repeat:' > out; cat out")
    wide.until(PROMPT, times=2)
    wide.enter("printf 'Repeat: AB-1204' | trillama run tiny --think=false --nowordwrap | cat")
    assert "\nAB-1204\n" in wide.until(PROMPT, times=3)


def test_a_chat_of_three_turns(shell: Shell) -> None:
    """Each answered, several lines in quotes too; the status line counts tokens."""
    shell.enter("trillama run tiny --think=false")
    shell.until(">>> Send a message", "tiny")
    for turn, code in enumerate(("QX-7731", "AB-1204"), 1):
        shell.enter(f"Repeat: {code}")
        shell.until(code, times=2)
        shell.until("tokens/s")
        assert shell.until(">>> ", times=turn + 1)
    shell.enter('"""Repeat:')
    shell.until("... ")
    shell.enter('ZK-9056"""')
    shell.until("ZK-9056", times=2)
    shell.enter("/bye")
    shell.until(PROMPT, times=2)


def test_settings_and_a_saved_session(wide: Shell) -> None:
    """What is set holds, and becomes a model that another chat can load."""
    wide.enter("trillama run tiny")
    wide.until(">>> Send")
    wide.enter("/set nothink")
    wide.until("Set 'nothink' mode.")
    wide.enter("/set parameter num_predict 4")
    wide.until("Set parameter 'num_predict' to '4'")
    wide.enter("/save mine")
    wide.until("Created new model 'mine'")
    wide.enter("/load mine")
    wide.until("Loading model 'mine'")
    wide.enter("/show parameters")
    wide.until("num_predict")
    wide.enter("/load nowhere")
    wide.until("Couldn't find model 'nowhere'")
    wide.enter("/frobnicate")
    wide.until("Unknown command '/frobnicate'. Type /? for help")
    wide.enter("/bye")
    wide.until(PROMPT, times=2)
    wide.enter("trillama rm mine")
    wide.until("deleted 'mine'")


def test_ctrl_c_stops_the_answer_and_not_the_chat(wide: Shell) -> None:
    """In the middle of an answer; the next question is answered."""
    wide.enter("trillama run tiny --think=false")
    wide.until(">>> Send")
    wide.enter("/set parameter num_predict 100000")
    wide.until("100000'")
    wide.enter("Count from 1 to 400.")
    wide.until(", 12")
    wide.type("C-c")
    wide.until(">>> Send")
    wide.enter("Repeat: QX-7731")
    wide.until("QX-7731", times=2)
    wide.enter("/bye")
    wide.until(PROMPT, times=2)


def test_wide_characters(shell: Shell, tmp_path: Path) -> None:
    """They take two columns, and a line ends between two before the terminal does."""
    words = " ".join("模型回答" * length for length in (1, 2, 3, 4, 3, 2, 1))
    (tmp_path / "schema").write_text(json.dumps({"const": words}))
    shell.enter("clear; trillama run tiny --think=false --format schema Speak")
    lines = shell.until('"\n', PROMPT).split(PROMPT, 1)[0].splitlines()
    assert "".join(lines).replace(" ", "") == f'"{words}"'.replace(" ", "")
    assert max(map(display_width, lines)) <= shell.columns - WRAP_MARGIN


def test_markdown_and_quiet(wide: Shell) -> None:
    """Rendered on the terminal, untouched in a pipe."""
    wide.enter("trillama run tiny --think=false --markdown --quiet 'Repeat: QX-7731'; echo end=$?")
    assert "QX-7731" in wide.until("end=0", "end=$?").split("end=$?")[1]


def test_what_is_not_there(wide: Shell, tmp_path: Path) -> None:
    """An unknown model, an unknown command and no server: one line each, and a status."""
    wide.enter("trillama show nowhere; echo status=$?")
    wide.until("Error: model 'nowhere:latest' not found", "status=1")
    wide.enter("clear; trillama frobnicate; echo status=$?")
    wide.until('Error: unknown command "frobnicate" for "trillama"', "status=1")
    wide.enter("clear; OLLAMA_HOST=127.0.0.1:9 trillama list; echo status=$?")
    wide.until("could not connect to trillama server", "status=1")


def test_the_snippets_people_know(wide: Shell) -> None:
    """Columns to cut, parameters to read, a model to stop."""
    wide.enter("trillama list | awk '{print $1}'")
    wide.until("NAME\ntiny:latest")
    wide.enter("clear; trillama show tiny --parameters; echo status=$?")
    wide.until("status=0")
    wide.enter("clear; trillama show tiny; echo status=$?")
    wide.until("architecture", "parameters", "context length", "status=0")
    wide.enter("clear; trillama run tiny 'Repeat: QX-7731' --think=false && trillama ps")
    wide.until("PROCESSOR", "100% CPU")
    wide.enter("clear; trillama stop tiny; trillama ps | wc -l; echo status=$?")
    wide.until("1\nstatus=0")


def test_a_server_with_another_keep_alive(tmp_path: Path) -> None:
    """``OLLAMA_KEEP_ALIVE=1h trillama serve`` in one terminal is seen by ``ps`` in another."""
    server = Process(tmp_path / "models", OLLAMA_KEEP_ALIVE="1h")
    screen = Shell(tmp_path, server.port, columns=100)
    try:
        screen.enter("trillama run tiny --think=false 'Repeat: QX-7731' && trillama ps")
        assert "59 minutes from now" in screen.until("UNTIL", "from now")
    finally:
        screen.close()
        server.close()
