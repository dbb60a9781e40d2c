"""Where a JSON value ends, or why it is none, in the words of Go's ``encoding/json``.

Clients of Ollama have met these texts for years and some match on them. Used by ``gojson`` only
when the fast decoder has refused a body: bytes in, an offset or an error out. The grammar and the
messages are those of Go's encoding/json scanner.
"""

from __future__ import annotations

import re

from ..base.errors import BadRequest

MAX_DEPTH = 10_000
"""Nesting at which Go gives up."""

MAX_TOKENS = 2_000_000
"""Work limit: a few seconds of scanning; nothing that is to be refused deserves more."""

_SPACE = re.compile(rb"[ \t\r\n]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_PARTS = (
    (re.compile(rb"-"), "in numeric literal"),
    (re.compile(rb"-?(?:0|[1-9][0-9]*)\."), "after decimal point in numeric literal"),
    (
        re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?[eE][+-]?"),
        "in exponent of numeric literal",
    ),
)
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX = re.compile(rb"[0-9a-fA-F]*")
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_ESCAPED = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 39: "'", 92: "\\"}
_NUMBER_STARTS = frozenset(b"-0123456789")


def quoted(byte: int) -> str:
    """A byte as Go's error texts show it: ``'m'``, ``'\\n'``, ``'\\x01'``."""
    if byte in _ESCAPED:
        return f"'\\{_ESCAPED[byte]}'"
    if byte < 0x20 or byte == 0x7F:
        return f"'\\x{byte:02x}'"
    if 0x80 <= byte < 0xA1 or byte == 0xAD:
        return f"'\\u{byte:04x}'"
    return f"'{chr(byte)}'"


class _Scan:
    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def peek(self) -> int:
        """The next byte that is no space.

        Raises:
            BadRequest: there is none.
        """
        found = _SPACE.match(self.body, self.at)
        self.at = found.end() if found else self.at
        return self.byte()

    def byte(self) -> int:
        if self.at >= len(self.body):
            raise BadRequest("unexpected EOF")
        return self.body[self.at]

    def refuse(self, where: str) -> BadRequest:
        return BadRequest(f"invalid character {quoted(self.byte())} {where}")

    def string(self) -> None:
        self.at += 1
        while True:
            found = _PLAIN.match(self.body, self.at)
            self.at = found.end() if found else self.at
            byte = self.byte()
            if byte < 0x20:
                raise self.refuse("in string literal")
            self.at += 1
            if byte == ord('"'):
                return
            self.escape()

    def escape(self) -> None:
        kind = self.byte()
        if kind not in b'bfnrt\\/"u':
            raise self.refuse("in string escape code")
        self.at += 1
        if kind != ord("u"):
            return
        for _ in range(4):
            if not _HEX.fullmatch(bytes([self.byte()])):
                raise self.refuse("in \\u hexadecimal character escape")
            self.at += 1

    def number(self) -> None:
        rest = self.body[self.at : self.at + 1100]
        for part, where in _NUMBER_PARTS:
            found = part.match(rest)
            if found and (found.end() == len(rest) or not rest[found.end() :][:1].isdigit()):
                self.at += found.end()
                raise self.refuse(where)
        found = _NUMBER.match(self.body, self.at)
        self.at = found.end() if found else self.at

    def literal(self, word: bytes) -> None:
        for offset, wanted in enumerate(word):
            if self.byte() != wanted:
                name, letter = word.decode(), chr(word[offset])
                raise self.refuse(f"in literal {name} (expecting '{letter}')")
            self.at += 1

    def scalar(self, byte: int) -> None:
        if byte == ord('"'):
            self.string()
        elif byte in _NUMBER_STARTS:
            self.number()
        elif byte in _LITERALS:
            self.literal(_LITERALS[byte])
        else:
            raise self.refuse("looking for beginning of value")

    def key(self) -> None:
        if self.peek() != ord('"'):
            raise self.refuse("looking for beginning of object key string")
        self.string()
        if self.peek() != ord(":"):
            raise self.refuse("after object key")
        self.at += 1

    def close(self, stack: bytearray) -> bool:
        """After a value: pass what closes; True when another value must follow."""
        while stack:
            byte = self.peek()
            self.at += 1
            if byte == ord(","):
                if stack[-1] == ord("}"):
                    self.key()
                return True
            if byte != stack[-1]:
                self.at -= 1
                inside = stack[-1] == ord("}")
                raise self.refuse(
                    "after object key:value pair" if inside else "after array element"
                )
            stack.pop()
        return False

    def open(self, byte: int, stack: bytearray) -> bool:
        """Enter ``{`` or ``[``; True when a value must follow, False when it is empty."""
        if len(stack) >= MAX_DEPTH:
            raise BadRequest("exceeded max depth")
        stack.append(ord("}") if byte == ord("{") else ord("]"))
        self.at += 1
        if self.peek() == stack[-1]:
            return False
        if byte == ord("{"):
            self.key()
        return True


def value_end(body: bytes) -> int:
    """Offset just behind the first JSON value of ``body``, which is not blank.

    Raises:
        BadRequest: with Go's text for what is wrong.
    """
    scan, stack = _Scan(body), bytearray()
    for _ in range(MAX_TOKENS):
        byte = scan.peek()
        if byte in b"{[" and scan.open(byte, stack):
            continue
        if byte not in b"{[":
            scan.scalar(byte)
        if not scan.close(stack):
            return scan.at
    raise BadRequest("the request body is not valid JSON")
