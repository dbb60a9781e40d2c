"""Reading a call's text from left to right: fixed marks, and what stands between them."""

from __future__ import annotations

import re

from .contract import Malformed
from .sections import skip

_CODES = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""}


class Scan:
    """A place in a text; blank space before what is asked for is skipped."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def at_end(self) -> bool:
        """Nothing but blank space is left."""
        self.at = skip(self.text, self.at)
        return self.at == len(self.text)

    def peek(self) -> str:
        """The next character; "" at the end."""
        return "" if self.at_end() else self.text[self.at]

    def take(self, mark: str) -> bool:
        """Pass ``mark`` if it comes next."""
        self.at = skip(self.text, self.at)
        found = self.text.startswith(mark, self.at)
        self.at += len(mark) * found
        return found

    def expect(self, mark: str) -> None:
        """Pass ``mark``.

        Raises:
            Malformed: something else comes next.
        """
        if not self.take(mark):
            raise Malformed

    def until(self, *marks: str) -> str:
        """What stands before the first of ``marks``, which is passed.

        Raises:
            Malformed: none comes.
        """
        ends = [(at, mark) for mark in marks if (at := self.text.find(mark, self.at)) >= 0]
        if not ends:
            raise Malformed
        end, mark = min(ends)
        found, self.at = self.text[self.at : end], end + len(mark)
        return found

    def value_until(self, mark: str, *follow: str) -> str:
        """What stands before the first ``mark`` that one of ``follow``, or the end, comes after.

        So a value may hold the mark that closes values.

        Raises:
            Malformed: there is none.
        """
        begin = end = self.at
        while (end := self.text.find(mark, end)) >= 0:
            self.at = end + len(mark)
            if self.at_end() or any(self.text.startswith(one, self.at) for one in follow):
                return self.text[begin:end]
            end += len(mark)
        raise Malformed

    def match(self, pattern: re.Pattern[str]) -> str | None:
        """Pass what ``pattern`` matches here; None if it does not."""
        self.at = skip(self.text, self.at)
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found[0]


def unescape(text: str) -> str:
    """A string literal's text without its backslashes."""

    def plain(found: re.Match[str]) -> str:
        code = found[1]
        if len(code) > 1:
            return chr(int(code[1:], 16))
        return _ESCAPES.get(code, code)

    if "\\" not in text:
        return text
    joined = _CODES.sub(plain, text)
    return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
