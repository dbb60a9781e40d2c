"""Splits generated text into reasoning and answer, however it is cut into pieces.

The rules are those of Ollama's thinking/parser.go: reasoning counts only at the very start, blank
space around the tags belongs to neither part, a second opening tag is plain content. Unlike there,
nothing that was held back is lost at the end, and the mark of a tool call may end the reasoning.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from .marks import Marks


class _State(enum.Enum):
    OPENING = enum.auto()
    THINKING_START = enum.auto()
    THINKING = enum.auto()
    CONTENT_START = enum.auto()
    CONTENT = enum.auto()


class ThinkingSplitter:
    """Takes pieces of one answer, returns what each adds to reasoning and to content.

    Args:
        inside: the prompt ends with the opening tag, so the answer begins as reasoning.
        interrupts: marks that end the reasoning as the closing tag does, and are content.
    """

    def __init__(
        self,
        open_tag: str,
        close_tag: str,
        *,
        inside: bool = False,
        interrupts: Iterable[str] = (),
    ) -> None:
        self._open = open_tag
        self._close = close_tag
        self._ends = Marks([close_tag, *interrupts])
        self._state = _State.THINKING_START if inside else _State.OPENING
        self._held = ""

    @property
    def thinking(self) -> bool:
        """True while what comes is, or may become, reasoning."""
        return self._state in (_State.OPENING, _State.THINKING_START, _State.THINKING)

    def push(self, text: str) -> tuple[str, str]:
        """What can be shown now: (reasoning, content); a beginning of a tag is held back."""
        self._held += text
        thinking, content = "", ""
        if self._state is _State.OPENING:
            self._look_for_opening()
        if self._state is _State.THINKING_START:
            self._skip_blanks(_State.THINKING)
        if self._state is _State.THINKING:
            thinking = self._take_thinking()
        if self._state is _State.CONTENT_START:
            self._skip_blanks(_State.CONTENT)
        if self._state is _State.CONTENT:
            content, self._held = self._held, ""
        return thinking, content

    def finish(self) -> tuple[str, str]:
        """The rest, at the end of the answer."""
        rest, self._held = self._held, ""
        return (rest, "") if self._state is _State.THINKING else ("", rest)

    def _look_for_opening(self) -> None:
        begun = self._held.lstrip()
        if begun.startswith(self._open):
            self._held = begun[len(self._open) :]
            self._state = _State.THINKING_START
        elif not self._open.startswith(begun):
            self._state = _State.CONTENT

    def _skip_blanks(self, after: _State) -> None:
        self._held = self._held.lstrip()
        if self._held:
            self._state = after

    def _take_thinking(self) -> str:
        if found := self._ends.search(self._held):
            thinking = self._held[: found.start()]
            closed = found[0] == self._close
            self._held = self._held[found.end() if closed else found.start() :]
            self._state = _State.CONTENT_START
            return thinking
        shown = len(self._held) - self._ends.partial(self._held)
        thinking, self._held = self._held[:shown], self._held[shown:]
        return thinking
