"""Strings, characters and numbers as Go writes them, read and written.

Text in Go is bytes. Here it is ``str``; bytes that are no UTF-8, which slicing may leave, are kept
as lone surrogates (``surrogateescape``), so that joining the pieces gives the character back.
"""

from __future__ import annotations

import math
import re

_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\",
}  # fmt: skip
_SHORT = {character: f"\\{letter}" for letter, character in _SIMPLE.items()}
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))"
)
_DIGITS = {"0x": "0-9a-f", "0o": "0-7", "0b": "01"}
_FLOAT = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?"
_HEX = r"[+-]?0x(?:[0-9a-f]+(?:\.[0-9a-f]*)?|\.[0-9a-f]+)p[+-]?[0-9]+"
_DECIMAL_FLOAT = re.compile(_FLOAT, re.IGNORECASE)
_HEX_FLOAT = re.compile(_HEX, re.IGNORECASE)
MAX_INT = 2**63 - 1
MAX_UINT = 2**64 - 1


def to_bytes(text: str) -> bytes:
    """The bytes Go would have for ``text``."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def from_bytes(data: bytes) -> str:
    """Text for any bytes; ``to_bytes`` gives them back."""
    return data.decode("utf-8", "surrogateescape")


def byte_length(text: str) -> int:
    """Length of ``text`` in Go: bytes."""
    return len(text) if text.isascii() else len(to_bytes(text))


def unquote(quoted: str) -> str:
    """Value of a string literal, in double quotes or backquotes.

    Raises:
        ValueError: an escape is none of Go's.
    """
    if quoted[0] == "`":
        return quoted[1:-1].replace("\r", "")
    return _unescape(quoted[1:-1], '"')


def _unescape(body: str, quote: str) -> str:
    if "\\" not in body:
        return body
    data = bytearray()
    at = 0
    while at < len(body):
        if body[at] != "\\":
            end = body.find("\\", at)
            end = len(body) if end < 0 else end
            data += to_bytes(body[at:end])
        else:
            found = _ESCAPE.match(body, at)
            if found is None or (found[1] in ("'", '"') and found[1] != quote):
                raise ValueError("invalid syntax")
            data += _escaped(found)
            end = found.end()
        at = end
    return from_bytes(bytes(data))


def _escaped(found: re.Match[str]) -> bytes:
    simple, byte, short, long, octal = found.groups()
    if simple:
        return _SIMPLE.get(simple, simple).encode()
    if byte or octal:
        value = int(byte, 16) if byte else int(octal, 8)
        if value > 255:
            raise ValueError("invalid syntax")
        return bytes([value])
    value = int(short or long, 16)
    if value > 0x10FFFF or 0xD800 <= value < 0xE000:
        raise ValueError("invalid syntax")
    return chr(value).encode()


def character(literal: str) -> int:
    """Code point of a character constant, quotes included.

    Raises:
        ValueError: it is not one character.
    """
    body = literal[1:-1]
    if not body or body == "'":
        raise ValueError("invalid syntax")
    if body[0] != "\\":
        if len(body) > 1:
            raise ValueError(f"malformed character constant: {literal}")
        return ord(body)
    found = _ESCAPE.match(body)
    if found is None or found[1] == '"':
        raise ValueError("invalid syntax")
    if found.end() < len(body):
        raise ValueError(f"malformed character constant: {literal}")
    data = _escaped(found)
    return data[0] if found[2] or found[5] else ord(data.decode())


def _integer(text: str) -> int | None:
    """An integer literal with a prefix, underscores or a leading zero as Go reads them."""
    sign, body = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    lower = body.lower()
    prefix = lower[:2] if lower[:2] in _DIGITS else ""
    digits = _DIGITS.get(prefix, "0-7" if len(lower) > 1 and lower[0] == "0" else "0-9")
    rest = lower[len(prefix) :]
    if not re.fullmatch(rf"{'_?' if prefix else ''}[{digits}]+(?:_[{digits}]+)*", rest):
        return None
    base = {"0x": 16, "0o": 8, "0b": 2}.get(prefix, 8 if digits == "0-7" else 10)
    plain = rest.replace("_", "")
    if len(plain) > 70:  # more than any integer has, and maybe more than Python converts
        return None
    value = int(plain, base)
    value = -value if sign == "-" else value
    return value if -MAX_INT - 1 <= value <= MAX_UINT else None


def _decimal(text: str) -> float | None:
    if "_" in text:
        if re.search("(?<![0-9a-fxA-FX])_|_(?![0-9a-fA-F])", text):
            return None
        text = text.replace("_", "")
    if _DECIMAL_FLOAT.fullmatch(text):
        value = float(text)
    elif _HEX_FLOAT.fullmatch(text):
        value = _from_hex(text)
    else:
        return None
    return value if math.isfinite(value) else None


def _from_hex(text: str) -> float:
    try:
        return float.fromhex(text)
    except OverflowError:
        return math.inf


def number(text: str) -> int | float | complex:
    """Value of a number: an int up to 2**64 - 1, a float, or a complex with a zero real part.

    Raises:
        ValueError: with Go's text.
    """
    if text.endswith("i") and (imaginary := _decimal(text[:-1])) is not None:
        return complex(0, imaginary)
    whole = _integer(text)
    if whole is not None:
        return whole
    found = _decimal(text)
    if found is None:
        raise ValueError(f'illegal number syntax: "{text}"')
    if not any(mark in text for mark in ".eEpP"):
        raise ValueError(f'integer overflow: "{text}"')
    return found


def pair(text: str) -> complex:
    """Value of ``1+2i``.

    Raises:
        ValueError: one half is no number.
    """
    found = re.fullmatch(rf"({_FLOAT}|{_HEX})([+-](?:{_FLOAT}|{_HEX}))i", text, re.IGNORECASE)
    halves = [_decimal(found[1]), _decimal(found[2])] if found else [None, None]
    if halves[0] is None or halves[1] is None:
        raise ValueError("syntax error scanning complex number")
    return complex(halves[0], halves[1])


def _quoted_character(character: str, quote: str, ascii_only: bool) -> str:
    if character == quote or character == "\\":
        return "\\" + character
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if (code < 0x80 or not ascii_only) and character.isprintable():
        return character
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote(text: str, *, ascii_only: bool = False) -> str:
    """``text`` as a Go string literal."""
    return '"' + "".join(_quoted_character(one, '"', ascii_only) for one in text) + '"'


def quote_character(code: int, *, ascii_only: bool = False) -> str:
    """A code point as a Go character constant."""
    valid = 0 <= code <= 0x10FFFF and not 0xD800 <= code < 0xE000
    one = chr(code) if valid else "\ufffd"
    return f"'{_quoted_character(one, chr(39), ascii_only)}'"


def unicode_name(character: str) -> str:
    """``U+002D '-'``, as errors show a character."""
    shown = f" '{character}'" if character.isprintable() else ""
    return f"U+{ord(character):04X}{shown}"
