"""Keys, history and completion of the chat, on prompt_toolkit's own test terminal."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from trillama.base.settings import Settings
from trillama.commands.keyboard import MOST_LINES, Keyboard, Lines, Offers
from trillama.commands.slash import choices


def typed(keys: str, settings: Settings, lines: int = 1) -> list[str]:
    """What a keyboard reads from these keys."""
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        pipe.send_text(keys)
        keyboard = Keyboard(
            settings, lambda words: choices(words, lambda: ["tiny:latest"]), lambda: "status"
        )
        return [keyboard.line(">>> ") for _ in range(lines)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of somebody with an empty home."""
    return Settings(identity=str(tmp_path / ".ollama" / "id_ed25519"))


def test_keys_edit(settings: Settings) -> None:
    """Alt-Enter begins a line, Up brings back what was typed; Ctrl-D ends."""
    assert typed("one\x1b\rtwo\r", settings) == ["one\ntwo"]
    assert typed("ahead\n", settings) == ["ahead"]
    assert typed("\x1b[A\r", settings) == ["ahead"]
    with pytest.raises(EOFError):
        typed("\x04", settings)
    with pytest.raises(KeyboardInterrupt):
        typed("half\x03", settings)


def test_a_pasted_block_is_one_message(settings: Settings) -> None:
    """Its line ends do not send it."""
    assert typed("\x1b[200~a\nb\x1b[201~\r", settings) == ["a\nb"]


def test_history_is_private_short_and_optional(tmp_path: Path) -> None:
    """Read by nobody else, a hundred lines at most, nothing when it is switched off."""
    file = tmp_path / "home" / "history"
    history = Lines(file, kept=True)
    for number in range(MOST_LINES + 5):
        history.store_string(f"line {number}")
    history.kept = False
    history.store_string("secret")

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = list(Lines(file, kept=True).load_history_strings())
    assert (len(lines), lines[0]) == (MOST_LINES, f"line {MOST_LINES + 4}")
    Lines(tmp_path / "home" / "history" / "no", kept=True).store_string("x")


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("/lo", ["/load"]),
        ("/set no", ["nohistory", "nowordwrap", "nomarkdown", "noformat", "nothink"]),
        ("/set parameter top", ["top_k", "top_p"]),
        ("/set think ", ["high", "medium", "low", "max"]),
        ("/show sy", ["system"]),
        ("/load ti", ["tiny:latest"]),
        ("/load tiny ", []),
        ("hello", []),
    ],
)
def test_offers(text: str, offered: list[str]) -> None:
    """Commands, their words and models; ordinary messages get none."""
    offers = Offers(lambda words: choices(words, lambda: ["tiny:latest"]))
    found = offers.get_completions(Document(text), CompleteEvent())
    assert [one.text for one in found] == offered


def test_paths_are_offered(tmp_path: Path) -> None:
    """Behind a message's words, for pictures."""
    (tmp_path / "cat.png").touch()
    offers = Offers(lambda words: [])
    found = offers.get_completions(Document(f"look at {tmp_path}/ca"), CompleteEvent())
    assert [one.text for one in found] == ["t.png"]
