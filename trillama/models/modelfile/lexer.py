"""From the text of a Modelfile to its commands.

The grammar is not one of lines: a value runs to the end of its line, unless it begins with a quote;
then to the first end of a line at which it is closed. There are no escapes. A value of
``<<"WORD"`` runs to a line that is ``WORD``: ours, for texts that no quotes can hold.
"""

from __future__ import annotations

import codecs
import re

import msgspec

from trillama.base.errors import BadRequest

COMMANDS = (
    *("from", "license", "template", "system", "adapter", "draft", "renderer", "parser"),
    *("parameter", "message", "requires"),
)
ROLES = ("system", "user", "assistant")
QUOTES = ('"""', '"')
MAX_TEXT = 64 << 20
"""Bytes of a Modelfile; licenses are long, but not this long."""

SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What Go's strings.TrimSpace takes off, which is not what Python's strip does."""

_BLANK = " \t"
_NEWLINE = re.compile(r"\r\n|\n|\r")
_BLANKS = re.compile(r"[ \t]*")
_COMMAND = re.compile(r".[A-Za-z]*", re.DOTALL)
_ROLE = re.compile(r"[A-Za-z]*")
_KEY = re.compile(r"[A-Za-z0-9_]*")
_HERE = re.compile(r'<<"([A-Z0-9_]+)"')
_BAD_COMMAND = (
    "command must be one of "
    + ", ".join(f'"{name}"' for name in COMMANDS[:-1])
    + f', or "{COMMANDS[-1]}"'
)
_BAD_ROLE = 'message role must be one of "system", "user", or "assistant"'


class ModelfileError(BadRequest):
    """The text is no Modelfile; the message names the line where one is to blame."""

    code = "bad_modelfile"


class Command(msgspec.Struct, frozen=True):
    """One command.

    Attributes:
        name: one of COMMANDS.
        value: the text, its quotes taken off.
        key: the parameter's name, or the message's role.
    """

    name: str
    value: str
    key: str = ""


def decode(data: bytes) -> str:
    """Text of a file: UTF-8, or UTF-16 with its mark; what is neither becomes U+FFFD.

    Raises:
        ModelfileError: more than MAX_TEXT bytes.
    """
    if len(data) > MAX_TEXT:
        raise ModelfileError(f"the Modelfile is larger than {MAX_TEXT} bytes")
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    return data.decode("utf-8", "replace")


class _Lexer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def commands(self) -> list[Command]:
        found = []
        while self._skip_to_command():
            found.append(self._command())
        return found

    def _skip_to_command(self) -> bool:
        """Pass blank lines and comments; False at the end."""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "#":
                self.at = self._line_end()
            elif char in _BLANK or char in "\r\n":
                self.at += 1
            else:
                return True
        return False

    def _command(self) -> Command:
        name = self._take(_COMMAND).lower()
        if self.at == len(self.text):
            raise ModelfileError("unexpected EOF")
        if self.text[self.at] not in _BLANK or name not in COMMANDS:
            raise self._bad_line(_BAD_COMMAND)
        key = self._key(name) if name in ("parameter", "message") else ""
        return Command(name, self._value(), key)

    def _key(self, name: str) -> str:
        self._take(_BLANKS)
        key = self._take(_KEY if name == "parameter" else _ROLE)
        if self.at == len(self.text):
            raise ModelfileError("unexpected EOF")
        if self.text[self.at] not in _BLANK:
            raise ModelfileError(f"unexpected EOF: {key}")
        if name == "message" and key not in ROLES:
            raise self._bad_line(_BAD_ROLE)
        return key

    def _value(self) -> str:
        end = self._line_end()
        line = self.text[self.at : end].strip(SPACE)
        if here := _HERE.fullmatch(line):
            return self._here_document(here[1], end)
        quote = next((quote for quote in QUOTES if line.startswith(quote)), "")
        if not quote:
            self.at = end
            return line
        return self._quoted(quote)

    def _quoted(self, quote: str) -> str:
        start = self.text.index(quote, self.at) + len(quote)
        self.at = last = start  # ``last``: behind the last character that is no space
        while True:
            end = self._line_end()
            said = self.text[self.at : end].rstrip(SPACE)
            last = self.at + len(said) if said else last
            if last >= start + len(quote) and self.text.endswith(quote, start, last):
                self.at = end
                return self.text[start : last - len(quote)]
            if end == len(self.text):
                raise ModelfileError("unexpected EOF")
            self.at = end + 1

    def _here_document(self, word: str, line_end: int) -> str:
        newline = _NEWLINE.match(self.text, line_end)
        start = newline.end() if newline else len(self.text)
        close = re.compile(rf"(?:\A|\r?\n){word}(?=[\r\n]|\Z)")
        found = close.search(self.text, max(start - 1, 0)) if newline else None
        if found is None:
            raise ModelfileError(f"unexpected EOF: no line is {word}")
        self.at = found.end()
        return self.text[start : max(found.start(), start)]

    def _line_end(self) -> int:
        found = _NEWLINE.search(self.text, self.at)
        return found.start() if found else len(self.text)

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return found[0]

    def _bad_line(self, what: str) -> ModelfileError:
        """Lines are counted as Ollama does: a newline that is to blame has begun the next one."""
        newline = _NEWLINE.match(self.text, self.at)
        seen = self.text[: newline.end() if newline else self.at]
        return ModelfileError(f"(line {1 + len(_NEWLINE.findall(seen))}): {what}")


def parse(text: str) -> list[Command]:
    """The commands of a Modelfile, in order.

    Raises:
        ModelfileError: it breaks the grammar, or has no FROM.
    """
    found = _Lexer(text).commands()
    if not any(command.name == "from" for command in found):
        raise ModelfileError("no FROM line")
    return found
