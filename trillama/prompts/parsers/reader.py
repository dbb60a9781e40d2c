"""One reader of an answer from what a model and a request need: reasoning, tool calls, both."""

from __future__ import annotations

from trillama.base.turns import Piece

from .contract import NOTHING, AnswerParser
from .thinking import ThinkingSplitter


class Reader:
    """Separates reasoning first and hands the rest on; see ``AnswerParser``.

    Args:
        splitter: None for a model without reasoning.
        calls: reads what is not reasoning; None where all of it is content.
    """

    def __init__(self, splitter: ThinkingSplitter | None, calls: AnswerParser | None) -> None:
        self._splitter = splitter
        self._calls = calls

    @property
    def malformed(self) -> bool:
        """See ``AnswerParser``."""
        return self._calls is not None and self._calls.malformed

    def push(self, text: str) -> Piece:
        """See ``AnswerParser``."""
        thinking, content = self._splitter.push(text) if self._splitter else ("", text)
        if self._calls is None or not content:
            return Piece(content, thinking) if thinking or content else NOTHING
        found = self._calls.push(content)
        return Piece(found.content, thinking + found.thinking, found.tool_calls)

    def finish(self) -> Piece:
        """See ``AnswerParser``."""
        thinking, content = self._splitter.finish() if self._splitter else ("", "")
        if self._calls is None:
            return Piece(content, thinking)
        found, rest = self._calls.push(content), self._calls.finish()
        calls = found.tool_calls + rest.tool_calls
        thinking += found.thinking + rest.thinking
        return Piece(found.content + rest.content, thinking, calls)
