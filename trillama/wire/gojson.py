"""JSON as Go's ``encoding/json`` reads and writes it.

Reading: only the first value of a body counts, broken UTF-8 and lone surrogates become U+FFFD, the
last of equal keys wins. Writing: ``<``, ``>``, ``&``, U+2028 and U+2029 are escaped, floats have
Go's exponents, times are RFC 3339 with up to nine digits. Every dialect of the API writes through
here; nothing here knows a dialect.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from ..base.errors import BadRequest
from .goscan import value_end

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_SPECIAL = re.compile(b"[<>&]|\xe2\x80[\xa8\xa9]")
_ESCAPES = {
    b"<": b"\\u003c",
    b">": b"\\u003e",
    b"&": b"\\u0026",
    b"\xe2\x80\xa8": b"\\u2028",
    b"\xe2\x80\xa9": b"\\u2029",
}


def decode(body: bytes) -> Any:
    """The first JSON value of ``body``; what follows it is ignored.

    Raises:
        BadRequest: with Go's text for what is wrong.
    """
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_leniently(body)


def _decode_leniently(body: bytes) -> Any:
    if not body.strip(b" \t\r\n"):
        raise BadRequest("missing request body")
    text = body[: value_end(body)].decode("utf-8", "replace")
    try:
        return _without_surrogates(json.loads(text))
    except RecursionError:
        raise BadRequest("exceeded max depth") from None
    except ValueError as error:  # a number of more digits than Python converts
        raise BadRequest(f"invalid JSON: {error}") from None


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    return value


def kind_of(value: object) -> str:
    """What Go calls a JSON value in its errors: bool, number, string, array, object."""
    if isinstance(value, bool):
        return "bool"
    names: tuple[tuple[Any, str], ...] = (
        ((int, float), "number"),
        (str, "string"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for kinds, name in names if isinstance(value, kinds)), "null")


def escape_html(raw: bytes) -> bytes:
    """Escape what Go escapes in an encoded document; these bytes occur in strings only."""
    if _SPECIAL.search(raw) is None:
        return raw
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], raw)


def encode(value: object) -> bytes:
    """One compact document; structs drop their defaults if they say ``omit_defaults``.

    Lone surrogates become U+FFFD. Floats must be wrapped by :func:`number`.
    """
    try:
        return escape_html(_encode(value))
    except UnicodeEncodeError:
        return escape_html(_encode(_without_surrogates(msgspec.to_builtins(value))))


def encode_text(text: str) -> bytes:
    """A JSON string with its quotes: the hot path of every stream."""
    try:
        raw = _encode(text)
    except UnicodeEncodeError:
        raw = _encode(_without_surrogates(text))
    return raw if _SPECIAL.search(raw) is None else escape_html(raw)


def number(value: float) -> msgspec.Raw:
    """A float64 as Go writes it: ``1``, ``0.1``, ``1e-7``, ``1e+21``.

    Raises:
        ValueError: not finite; JSON has no word for it.
    """
    if not math.isfinite(value):
        raise ValueError(f"json: unsupported value: {value}")
    text = repr(float(value)).removesuffix(".0")
    if value and not 1e-6 <= abs(value) < 1e21:
        digits, _, power = text.partition("e")
        text = f"{digits.removesuffix('.0')}e{int(power):+d}"
    elif "e" in text:
        text = f"{Decimal(text):f}"
    return msgspec.Raw(text.encode())


def with_numbers(value: Any) -> Any:
    """Decoded JSON with its floats wrapped by :func:`number`, ready for :func:`encode`."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return [with_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: with_numbers(item) for key, item in value.items()}
    return value


def _fraction(ns: int) -> str:
    digits = f"{ns:09d}".rstrip("0")
    return f".{digits}" if digits else ""


def local_time(ns: int) -> str:
    """RFC 3339 in the server's zone, ``Z`` where that is UTC; ``ns`` since 1970."""
    seconds, rest = divmod(ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    zone = moment.strftime("%z")
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:5]}"
    return f"{moment:%Y-%m-%dT%H:%M:%S}{_fraction(rest)}{zone}"


class Clock:
    """Writes ``created_at``: RFC 3339 in UTC. Keeps the text of the running second."""

    def __init__(self, now: Callable[[], int] = time.time_ns) -> None:
        self._now = now
        self._second = -1
        self._text = ""

    def utc(self) -> str:
        """This moment."""
        second, rest = divmod(self._now(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}{_fraction(rest)}Z"
