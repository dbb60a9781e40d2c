"""Tokens of a Go template: text, and what stands between ``{{`` and ``}}``.

Trim markers act here, on the text beside them, so that the tree already holds what is printed.
The last token is an end or an error whose text is Go's.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import NamedTuple

from .literals import quote, unicode_name

_BLANK = " \t\r\n"
_CLOSE = "}}"


class Kind(enum.Enum):
    """What a token is."""

    ERROR = enum.auto()
    END = enum.auto()
    TEXT = enum.auto()
    LEFT = enum.auto()
    RIGHT = enum.auto()
    SPACE = enum.auto()
    STRING = enum.auto()
    CHARACTER = enum.auto()
    NUMBER = enum.auto()
    PAIR = enum.auto()
    BOOL = enum.auto()
    NIL = enum.auto()
    DOT = enum.auto()
    FIELD = enum.auto()
    VARIABLE = enum.auto()
    IDENTIFIER = enum.auto()
    KEYWORD = enum.auto()
    DECLARE = enum.auto()
    ASSIGN = enum.auto()
    PIPE = enum.auto()
    OPEN = enum.auto()
    CLOSE = enum.auto()
    OTHER = enum.auto()


KEYWORDS = frozenset(
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"]
)


class Token(NamedTuple):
    """A piece of the source; ``line`` counts from 1, ``at`` is its offset."""

    kind: Kind
    text: str
    at: int
    line: int

    def __str__(self) -> str:
        if self.kind is Kind.END:
            return "EOF"
        if self.kind is Kind.ERROR:
            return self.text
        if self.kind in (Kind.KEYWORD, Kind.NIL) or (self.kind is Kind.DOT):
            return f"<{self.text}>"
        if len(self.text.encode("utf-8", "replace")) > 10:
            return f"{quote(self.text[:10])}..."
        return quote(self.text)


_NUMBER = (
    r"[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?"
    r"|0[oO][0-7_]*(?:\.[0-7_]*)?|0[bB][01_]*(?:\.[01_]*)?"
    r"|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?"
)
_TOKEN = re.compile(
    rf"""(?P<SPACE>[ \t\r\n]+)
    |(?P<STRING>"(?:\\[^\n]|[^"\\\n])*"|`[^`]*`)
    |(?P<CHARACTER>'(?:\\[^\n]|[^'\\\n])*')
    |(?P<VARIABLE>\$\w*)
    |(?P<FIELD>\.(?![0-9]|\Z)\w*)
    |(?P<PAIR>(?=[+\-.0-9])(?>{_NUMBER})(?=[+-]){_NUMBER})
    |(?P<NUMBER>(?=[+\-.0-9]){_NUMBER})
    |(?P<IDENTIFIER>\w+)
    |(?P<DECLARE>:=)|(?P<ASSIGN>=)|(?P<PIPE>\|)|(?P<OPEN>\()|(?P<CLOSE>\))
    |(?P<OTHER>[\x20-\x7e])""",
    re.VERBOSE,
)
_TRIMMED_CLOSE = re.compile(r"([ \t\r\n]*)[ \t\r\n]-\}\}")
_UNTERMINATED = {
    '"': "unterminated quoted string",
    "`": "unterminated raw quoted string",
    "'": "unterminated character constant",
}


class _Wrong(Exception):
    """The source cannot be read on."""


class _Lexer:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._line = 1
        self._counted = 0

    def tokens(self) -> Iterator[Token]:
        """All tokens; the last is END or ERROR."""
        try:
            yield from self._run()
        except _Wrong as wrong:
            yield self._token(Kind.ERROR, str(wrong), self._at)
        else:
            yield self._token(Kind.END, "", len(self._source))

    def _token(self, kind: Kind, text: str, at: int) -> Token:
        self._line += self._source.count("\n", self._counted, at)
        self._counted = max(self._counted, at)
        return Token(kind, text, at, self._line)

    def _run(self) -> Iterator[Token]:
        source = self._source
        while self._at < len(source):
            found = source.find("{{", self._at)
            end = len(source) if found < 0 else found
            text = source[self._at : end]
            trims = found >= 0 and source[end + 2 : end + 3] == "-" and self._blank(end + 3)
            if trims:
                text = text.rstrip(_BLANK)
            if text:
                yield self._token(Kind.TEXT, text, self._at)
            self._at = end
            if found >= 0:
                yield from self._opened(end + (4 if trims else 2))

    def _blank(self, at: int) -> bool:
        return self._source[at : at + 1] in tuple(_BLANK)

    def _opened(self, inside: int) -> Iterator[Token]:
        if self._source.startswith("/*", inside):
            self._comment(inside)
            return
        yield self._token(Kind.LEFT, "{{", self._at)
        self._at = inside
        yield from self._action()

    def _comment(self, at: int) -> None:
        end = self._source.find("*/", at + 2)
        if end < 0:
            raise _Wrong("unclosed comment")
        end += 2
        trims = self._source[end + 1 : end + 4] == "-}}" and self._blank(end)
        if not trims and not self._source.startswith(_CLOSE, end):
            raise _Wrong("comment ends before closing delimiter")
        self._at = end
        self._leave(trims)

    def _leave(self, trims: bool) -> None:
        self._at += 4 if trims else 2
        if trims:
            rest = re.compile(r"[ \t\r\n]*").match(self._source, self._at)
            self._at = rest.end() if rest else self._at

    def _action(self) -> Iterator[Token]:
        depth = 0
        while not self._source.startswith(_CLOSE, self._at):
            if trimmed := _TRIMMED_CLOSE.match(self._source, self._at):
                if trimmed[1]:
                    yield self._token(Kind.SPACE, trimmed[1], self._at)
                self._at = trimmed.end(1)
                break
            token = self._inside()
            depth += (token.kind is Kind.OPEN) - (token.kind is Kind.CLOSE)
            if depth < 0:
                raise _Wrong("unexpected right paren")
            yield token
            self._at += len(token.text)
        if depth:
            raise _Wrong("unclosed left paren")
        yield self._token(Kind.RIGHT, _CLOSE, self._at)
        self._leave(not self._source.startswith(_CLOSE, self._at))

    def _inside(self) -> Token:
        found = _TOKEN.match(self._source, self._at)
        first = self._source[self._at : self._at + 1]
        if not first:
            raise _Wrong("unclosed action")
        if found is None or (found.lastgroup == "OTHER" and first in _UNTERMINATED):
            raise _Wrong(
                _UNTERMINATED.get(first, f"unrecognized character in action: {unicode_name(first)}")
            )
        kind, text = Kind[found.lastgroup or "OTHER"], found[0]
        if first == ":" and kind is not Kind.DECLARE:
            raise _Wrong("expected :=")
        if kind in (Kind.NUMBER, Kind.PAIR):
            return self._number(kind, text)
        if kind in (Kind.IDENTIFIER, Kind.FIELD, Kind.VARIABLE):
            self._check_end(found.end())
            kind = _word(kind, text)
        return self._token(kind, text, self._at)

    def _number(self, kind: Kind, text: str) -> Token:
        after = self._source[self._at + len(text) : self._at + len(text) + 1]
        if after == "_" or after.isalnum():
            raise _Wrong(f"bad number syntax: {quote(text + after)}")
        if (kind is Kind.NUMBER and after in ("+", "-")) or (
            kind is Kind.PAIR and not text.endswith("i")
        ):
            raise _Wrong(f"bad number syntax: {quote(text)}")
        return self._token(kind, text, self._at)

    def _check_end(self, at: int) -> None:
        after = self._source[at : at + 1]
        if after and after not in " \t\r\n.,|:)(" and not self._source.startswith(_CLOSE, at):
            raise _Wrong(f"bad character {unicode_name(after)}")


def _word(kind: Kind, text: str) -> Kind:
    if kind is Kind.FIELD:
        return Kind.FIELD if len(text) > 1 else Kind.DOT
    if kind is Kind.IDENTIFIER:
        if text in KEYWORDS:
            return Kind.KEYWORD
        return {"true": Kind.BOOL, "false": Kind.BOOL, "nil": Kind.NIL}.get(text, kind)
    return kind


def lex(source: str) -> list[Token]:
    """The tokens of ``source``; comments leave none."""
    return list(_Lexer(source).tokens())
