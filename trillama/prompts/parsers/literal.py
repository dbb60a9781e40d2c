"""Calls in the manner of Python, and objects in Gemma's: literals only, nothing is ever run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from trillama.base.messages import ToolCall

from .contract import Malformed
from .json_text import call
from .scan import Scan, unescape

MAX_DEPTH = 64
_NAME = re.compile(r"[^\W\d][\w.-]*")
_KEY = re.compile(r"[\w$.-]+")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'', re.DOTALL)
_BARE = re.compile(r"[^,{}\[\]()]+")
_WORDS = {
    "true": True, "True": True, "false": False, "False": False, "null": None, "None": None,
}  # fmt: skip


class Literals(Scan):
    """Reads values.

    Args:
        quote: a mark that stands around strings, beside the usual ones; "" for none.
        bare: a value may be text without quotes.
    """

    def __init__(self, text: str, quote: str = "", *, bare: bool = False) -> None:
        super().__init__(text)
        self._quote = quote
        self._bare = bare
        self._depth = 0

    def calls(self) -> Iterator[ToolCall]:
        """All calls to the end: ``f(a=1)``, one after the other or in a list."""
        listed = self.take("[")
        while not self.at_end() and not (listed and self.take("]")):
            yield self.call()
            while self.take(",") or self.take(";"):
                pass
        if not self.at_end():
            raise Malformed

    def call(self) -> ToolCall:
        """One call, its arguments by name."""
        name = self.match(_NAME)
        self.expect("(")
        arguments = {}
        while not self.take(")"):
            key = self.match(_KEY)
            if key is None or key in arguments:
                raise Malformed
            self.expect("=")
            arguments[key] = self.value()
            if not self.take(",") and self.peek() != ")":
                raise Malformed
        return call(name, arguments)

    def value(self) -> Any:
        """One value."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Malformed
        found = self._value()
        self._depth -= 1
        return found

    def _value(self) -> Any:
        if self._quote and self.take(self._quote):
            return self.until(self._quote)
        for opens, closes in (("[", "]"), ("(", ")")):
            if self.take(opens):
                return list(self._items(closes))
        if self.take("{"):
            return self.members("}")
        if (text := self.match(_STRING)) is not None:
            return unescape(text[1:-1])
        if (text := self.match(_NUMBER)) is not None:
            return _number(text)
        return self._word()

    def _word(self) -> Any:
        text = (self.match(_BARE if self._bare else _KEY) or "").strip()
        if text in _WORDS:
            return _WORDS[text]
        if not self._bare or not text:
            raise Malformed
        return text

    def _items(self, close: str) -> Iterator[Any]:
        while not self.take(close):
            yield self.value()
            if not self.take(",") and self.peek() != close:
                raise Malformed

    def members(self, close: str) -> dict[str, Any]:
        """Members ``key: value`` up to ``close``."""
        found: dict[str, Any] = {}
        while not self.take(close):
            key = self._member_key()
            self.expect(":")
            found[key] = self.value()
            if not self.take(",") and self.peek() != close:
                raise Malformed
        return found

    def _member_key(self) -> str:
        if self._quote and self.take(self._quote):
            return self.until(self._quote)
        if (text := self.match(_STRING)) is not None:
            return unescape(text[1:-1])
        if (key := self.match(_KEY)) is None:
            raise Malformed
        return key


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        found = float(text)
    except ValueError:
        raise Malformed from None
    if found in (float("inf"), float("-inf")):
        raise Malformed
    return found
