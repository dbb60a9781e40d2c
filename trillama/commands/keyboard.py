"""The keyboard of the chat, on prompt_toolkit: editing, history, completion, an editor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import HTML
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

from trillama.base.settings import Settings

MOST_LINES = 100
PATHS = ("/", "./", "../", "~/")
"""How a word begins that is a path."""
PLACEHOLDERS = {
    ">>> ": "Send a message (/? for help)",
    "... ": 'Use """ to end multi-line input',
}
Choices = Callable[[Sequence[str]], Sequence[str]]


class Lines(History):
    """What was typed, a line each, in the file Ollama keeps; for its owner's eyes only."""

    def __init__(self, path: Path, *, kept: bool) -> None:
        super().__init__()
        self.path = path
        self.kept = kept

    def load_history_strings(self) -> Iterable[str]:
        """The last lines, newest first."""
        try:
            lines = self.path.read_text("utf-8", "replace").splitlines()
        except OSError:
            return []
        return [line for line in reversed(lines) if line.strip()][:MOST_LINES]

    def store_string(self, string: str) -> None:
        """Keep what was typed; a home that cannot be written to keeps nothing."""
        if not self.kept:
            return
        lines = [*reversed([*self.load_history_strings()]), *string.splitlines()][-MOST_LINES:]
        beside = self.path.with_name(f"{self.path.name}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
            beside.replace(self.path)
        except OSError:
            self.kept = False


class Offers(Completer):
    """Completes the words of a line that begins with a slash, and paths in any other."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        """What the word before the cursor may become."""
        text = document.text_before_cursor
        *before, word = text.split(" ")
        if text.startswith("/"):
            for choice in self._choices(before):
                if choice.startswith(word):
                    yield Completion(choice, -len(word))
        elif word.startswith(PATHS):
            yield from self._paths.get_completions(Document(word), event)


class Keyboard:
    """Reads lines; see ``chat`` for what becomes of them.

    Args:
        choices: what may come behind the words of a command.
        status: the line below what is typed, asked for anew with each prompt.
    """

    def __init__(self, settings: Settings, choices: Choices, status: Callable[[], str]) -> None:
        path = Path(settings.identity).with_name("history")
        self._lines = Lines(path, kept=not settings.no_history)
        self._session: PromptSession[str] = PromptSession(
            history=self._lines,
            completer=Offers(choices),
            complete_while_typing=False,
            enable_history_search=False,
            enable_suspend=True,
            key_bindings=_keys(settings.editor),
            bottom_toolbar=lambda: status(),
            style=Style.from_dict({"bottom-toolbar": "noreverse ansibrightblack"}),
        )

    def line(self, prompt: str) -> str:
        """What was typed behind a prompt.

        Raises:
            EOFError: the end was typed.
            KeyboardInterrupt: the line was given up.
        """
        grey = HTML("<ansibrightblack>{}</ansibrightblack>").format(PLACEHOLDERS.get(prompt, ""))
        return self._session.prompt(prompt, placeholder=grey)

    def keep_history(self, kept: bool) -> None:
        """Keep what is typed from now on, or do not."""
        self._lines.kept = kept


def _keys(editor: str) -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")  # not Ctrl-J: an Enter typed ahead of the prompt arrives as that
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-g")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer

        def edit() -> None:
            try:
                text = click.edit(buffer.text, editor=editor or None)
            except click.ClickException as error:
                print(f"error: {error.message}", file=sys.stderr)
                return
            if text is not None:
                buffer.document = Document(text.rstrip("\n"))

        run_in_terminal(edit)

    return keys
