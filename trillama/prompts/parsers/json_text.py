"""JSON inside generated text: where it ends while it grows, and the calls it spells."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from trillama.base.messages import ToolCall, ToolFunction

from .contract import Malformed

_OUTSIDE = re.compile(r'["{}\[\]]')
_INSIDE = re.compile(r'["\\]')


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)


def _finite(text: str) -> float:
    if math.isinf(found := float(text)):
        raise ValueError(text)
    return found


# Models write line breaks into strings as they are; that is still clear enough.
_DECODE = json.JSONDecoder(strict=False, parse_constant=_no_number, parse_float=_finite).decode


class JsonEnd:
    """Finds where an object or array ends; looks at each character of the growing text once."""

    __slots__ = ("_at", "_depth", "_quoted")

    def __init__(self) -> None:
        self._at = 0
        self._depth = 0
        self._quoted = False

    def find(self, text: str, start: int) -> int | None:
        """Offset behind the value that begins at ``start``, None while it is not complete."""
        at = max(self._at, start)
        while found := (_INSIDE if self._quoted else _OUTSIDE).search(text, at):
            at = found.end()
            if found[0] == "\\":
                at += 1
            elif found[0] == '"':
                self._quoted = not self._quoted
            else:
                self._depth += 1 if found[0] in "{[" else -1
                if self._depth <= 0:
                    return at
        self._at = max(at, len(text))
        return None


def load(text: str) -> Any:
    """The value ``text`` spells.

    Raises:
        Malformed: it is not JSON.
    """
    try:
        return _DECODE(text)
    except (ValueError, RecursionError):
        raise Malformed from None


def load_object(text: str) -> dict[str, Any]:
    """The object ``text`` spells; blank text is an empty one.

    Raises:
        Malformed: it is none.
    """
    return _as_object(load(text)) if text.strip() else {}


def call(name: Any, arguments: Any = None, id: Any = "") -> ToolCall:  # noqa: A002 the API's word
    """A call of a name with arguments: an object, its JSON text, or nothing.

    Raises:
        Malformed: no name, or arguments of another kind.
    """
    if not isinstance(name, str) or not name.strip():
        raise Malformed
    known = id if isinstance(id, str) else ""
    return ToolCall(ToolFunction(name.strip(), _as_object(arguments)), known)


def calls(value: Any, name: str = "name", arguments: str = "arguments") -> Iterator[ToolCall]:
    """The calls that an object, or an array of objects, spells.

    Args:
        name, arguments: keys of the family; ``arguments`` and ``parameters`` stand for each other.

    Raises:
        Malformed: it spells none.
    """
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, dict):
            raise Malformed
        inner = one.get("function")
        found = inner if isinstance(inner, dict) else one
        given = next((found[k] for k in (arguments, "arguments", "parameters") if k in found), None)
        yield call(found.get(name, found.get("name")), given, one.get("id", ""))


def _as_object(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        return load_object(value)
    if not isinstance(value, dict):
        raise Malformed
    return value
