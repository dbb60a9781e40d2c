"""What a reader of answers is, and what a family of models brings to make one.

A reader takes the text of one answer in pieces of any size and says what each adds: reasoning,
content, whole tool calls. What it says in total never depends on the sizes. Text between the marks
of a call that is no call comes back as content, and the reader remembers that (``malformed``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from trillama.base.turns import Piece

NOTHING = Piece()
MOST_REFERENCES = 8
"""References that are followed one behind the other; they may go in a circle."""


class Malformed(Exception):
    """A call was begun, but this is none."""


class NoCall(Exception):
    """This only looked like the beginning of a call; it is an answer."""


class AnswerParser(Protocol):
    """Reads one answer."""

    @property
    def malformed(self) -> bool:
        """A call was begun that is none; its text has come as content."""
        ...

    def push(self, text: str) -> Piece:
        """What ``text`` adds; what may still become part of a mark is held back."""
        ...

    def finish(self) -> Piece:
        """The rest, at the end of the answer. Call it once."""
        ...


class Tools:
    """The tools a request offers, as parsers need them.

    Args:
        definitions: JSON objects, ``{"type": "function", "function": {…}}``.

    Attributes:
        names: of all functions.
    """

    def __init__(self, definitions: Iterable[Mapping[str, Any]] = ()) -> None:
        functions = [one.get("function") for one in definitions]
        self._schemas = {
            str(one.get("name", "")): arguments_schema(one)
            for one in functions
            if isinstance(one, Mapping)
        }
        self.names = frozenset(self._schemas)

    def __bool__(self) -> bool:
        return bool(self._schemas)

    def complete(self, function: str, arguments: Mapping[str, Any]) -> bool:
        """The function was offered, and everything it requires is there."""
        required = self._schemas.get(function, {}).get("required") or ()
        return function in self.names and all(name in arguments for name in required)

    def types(self, function: str, parameter: str) -> frozenset[str]:
        """JSON types that a parameter is declared with; none where nothing is declared."""
        properties = _object(self._schemas.get(function, {}).get("properties"))
        return frozenset(_types(properties.get(parameter)))


def arguments_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    """What a function's arguments have to be: an object, whatever its definition leaves out.

    A schema that only refers to one of its own definitions is that one; null means absent.
    """
    schema = dict(_object(function.get("parameters")))
    for _ in range(MOST_REFERENCES):
        found = _referred(schema)
        if not found:
            break
        del schema["$ref"]
        schema |= found
    return {key: part for key, part in schema.items() if part is not None} | {"type": "object"}


def _referred(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the root of a schema refers to within itself; empty for nothing."""
    pointer = schema.get("$ref")
    if not isinstance(pointer, str) or not pointer.startswith("#/"):
        return {}
    found: Any = schema
    for part in pointer[2:].split("/"):
        found = _object(found).get(part.replace("~1", "/").replace("~0", "~"))
    return _object(found)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _types(schema: Any) -> Iterable[str]:
    declared = _object(schema).get("type")
    if isinstance(declared, str):
        yield declared
    elif isinstance(declared, list):
        yield from (one for one in declared if isinstance(one, str))
    for branches in ("anyOf", "oneOf"):
        for branch in _object(schema).get(branches) or ():
            yield from _types(branch) if isinstance(branch, Mapping) else ()
