"""Markdown on a terminal, shown block by block as an answer comes."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.markdown import Markdown

FENCES = ("```", "~~~")


class MarkdownWriter:
    """Renders each block once it is complete: a paragraph, a list, a fenced piece of code.

    Args:
        out: a terminal.
        width: its columns.
    """

    def __init__(self, out: TextIO, width: int) -> None:
        self._console = Console(file=out, width=width, force_terminal=True, highlight=False)
        self._lines: list[str] = []
        self._line = ""
        self._fence = ""
        self._first = True

    def write(self, text: str) -> None:
        """Take a piece of the answer."""
        *whole, self._line = (self._line + text).split("\n")
        for line in whole:
            self._take(line)

    def _take(self, line: str) -> None:
        mark = line.lstrip()[:3]
        if self._fence:
            self._lines.append(line)
            if mark == self._fence:
                self._fence = ""
                self._show()
        elif mark in FENCES:
            self._show()
            self._fence = mark
            self._lines.append(line)
        elif line.strip():
            self._lines.append(line)
        else:
            self._show()

    def _show(self) -> None:
        if self._lines:
            if not self._first:
                self._console.print()
            self._console.print(Markdown("\n".join(self._lines)))
            self._first, self._lines = False, []

    def close(self) -> None:
        """Show what is left."""
        if self._line:
            self._lines.append(self._line)
            self._line = ""
        self._show()
