"""The functions of Go's text/template and those Ollama adds.

``and`` and ``or`` do not evaluate all their arguments and are therefore the executor's own.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from trillama.wire.gojson import encode, number

from ..budget import Budget
from .formatting import sprint, sprintf, sprintln
from .literals import byte_length, from_bytes, to_bytes
from .values import (
    NO_VALUE,
    Byte,
    ExecError,
    Ordered,
    Struct,
    is_nil,
    is_true,
    methods_of,
    type_name,
)

_ZERO = "reflect: call of reflect.Value.Type on zero Value"


class Function(NamedTuple):
    """A function and how many arguments it takes.

    Attributes:
        run: takes the arguments and the budget.
        most: None for as many as there are.
        texts: so many arguments are strings in Go.
        reflects: it is told values that are not there, instead of nil.
    """

    run: Callable[[Sequence[Any], Budget], Any]
    least: int = 0
    most: int | None = None
    texts: int = 0
    reflects: bool = False


# Comparison.


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    kinds: tuple[tuple[Any, str], ...] = (
        (int, "int"), (float, "float"), (complex, "complex"), (str, "string"),
    )  # fmt: skip
    return next((name for kind, name in kinds if isinstance(value, kind)), "")


def _equal(one: Any, other: Any, budget: Budget) -> bool:
    nothing = (None, NO_VALUE)
    if _kind(one) != _kind(other):
        if one in nothing or other in nothing:
            return False
        raise ExecError(
            f"incompatible types for comparison: {type_name(one)} and {type_name(other)}"
        )
    if _kind(one):
        return bool(one == other)
    if is_nil(one) or is_nil(other):
        return is_nil(one) and is_nil(other)
    if isinstance(one, Struct) != isinstance(other, Struct) or isinstance(one, dict) != isinstance(
        other, dict
    ):
        shown = [(sprintf("%s", [value], budget), type_name(value)) for value in (one, other)]
        raise ExecError(
            f"non-comparable types {shown[0][0]}: {shown[0][1]}, "
            f"{shown[1][1]}: {sprint([other], budget)}"
        )
    if not isinstance(other, Struct):
        shown_text = sprintf("%s", [other], budget)
        raise ExecError(f"non-comparable type {shown_text}: {type_name(other)}")
    return one is other


def _eq(args: Sequence[Any], budget: Budget) -> bool:
    if len(args) < 2:
        raise ExecError("missing argument for comparison")
    return any(_equal(args[0], other, budget) for other in args[1:])


def _ne(args: Sequence[Any], budget: Budget) -> bool:
    return not _equal(args[0], args[1], budget)


def _less(args: Sequence[Any], budget: Budget) -> bool:
    one, other = args
    if not _kind(one) or not _kind(other):
        raise ExecError("invalid type for comparison")
    if _kind(one) != _kind(other):
        raise ExecError(
            f"incompatible types for comparison: {type_name(one)} and {type_name(other)}"
        )
    if _kind(one) in ("bool", "complex"):
        raise ExecError("invalid type for comparison")
    return bool(one < other)


def _le(args: Sequence[Any], budget: Budget) -> bool:
    return _less(args, budget) or _equal(args[0], args[1], budget)


# Parts of values.


def _len(args: Sequence[Any], budget: Budget) -> int:
    value = args[0]
    if value is None:
        raise ExecError("len of nil pointer")
    if value is NO_VALUE:
        raise ExecError(_ZERO)
    if isinstance(value, str):
        return byte_length(value)
    if isinstance(value, dict | list | tuple):
        return len(value)
    raise ExecError(f"len of type {type_name(value)}")


def _position(index: Any, length: int) -> int:
    if index is None or index is NO_VALUE:
        raise ExecError("cannot index slice/array with nil")
    if isinstance(index, bool) or not isinstance(index, int):
        raise ExecError(f"cannot index slice/array with type {type_name(index)}")
    if not 0 <= index <= length:
        raise ExecError(f"index out of range: {index}")
    return index


def _item(value: Any, index: Any) -> Any:
    if value is None or value is NO_VALUE:
        raise ExecError("index of nil pointer")
    if isinstance(value, dict):
        if index is None or index is NO_VALUE:
            raise ExecError("value is nil; should be of type string")
        if not isinstance(index, str):
            raise ExecError(f"value has type {type_name(index)}; should be string")
        return value.get(index)
    if isinstance(value, str):
        data = to_bytes(value)
        at = _position(index, len(data))
        if at == len(data):
            raise ExecError("reflect: string index out of range")
        return Byte(data[at])
    if isinstance(value, list | tuple):
        at = _position(index, len(value))
        if at == len(value):
            raise ExecError("reflect: slice index out of range")
        return value[at]
    raise ExecError(f"can't index item of type {type_name(value)}")


def _index(args: Sequence[Any], budget: Budget) -> Any:
    value, *keys = args
    if value is None or value is NO_VALUE:
        raise ExecError("index of untyped nil")
    for key in keys:
        if isinstance(value, str) and not value.isascii():
            budget.charge(len(value))
        value = _item(value, key)
    return value


def _slice(args: Sequence[Any], budget: Budget) -> Any:
    value, *keys = args
    if value is None or value is NO_VALUE:
        raise ExecError("slice of untyped nil")
    if len(keys) > 3:
        raise ExecError(f"too many slice indexes: {len(keys)}")
    if isinstance(value, str):
        if len(keys) == 3:
            raise ExecError("cannot 3-index slice a string")
        data = to_bytes(value)
        budget.allow(len(data))
        start, end = _bounds(keys, len(data))
        return from_bytes(data[start:end])
    if not isinstance(value, list | tuple):
        raise ExecError(f"can't slice item of type {type_name(value)}")
    budget.allow(len(value))
    start, end = _bounds(keys, len(value))
    return value[start:end]


def _bounds(keys: Sequence[Any], length: int) -> tuple[int, int]:
    if None in keys:
        raise ExecError("cannot index slice/array with type interface {}")
    found = [_position(key, length) for key in keys]
    start, end, most = found + [0, length, length][len(found) :]
    for low, high in ((start, end), (end, most)):
        if low > high:
            raise ExecError(f"invalid slice index: {low} > {high}")
    return start, end


def _call(args: Sequence[Any], budget: Budget) -> Any:
    name, value = args[0], args[1]
    if value is None or value is NO_VALUE:
        raise ExecError("call of nil")
    raise ExecError(f"non-function {name} of type {type_name(value)}")


# Texts.

_HTML = {
    '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "\ufffd",
}  # fmt: skip
_JS = {
    "\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026",
    "=": "\\u003D",
}  # fmt: skip
_HTML_TABLE = str.maketrans(_HTML)


def _js_character(one: str) -> str:
    if one in _JS:
        return _JS[one]
    if one < " " or not one.isprintable():
        return f"\\u{ord(one):04X}"
    return one


def _text(args: Sequence[Any], budget: Budget) -> str:
    """What escaping functions escape: the arguments, printed."""
    shown = ["<no value>" if one is None or one is NO_VALUE else one for one in args]
    text = sprint(shown, budget)
    budget.fit(12 * len(text))
    budget.charge(4 * len(text))
    return text


def _html(args: Sequence[Any], budget: Budget) -> str:
    return _text(args, budget).translate(_HTML_TABLE)


def _js(args: Sequence[Any], budget: Budget) -> str:
    return "".join(map(_js_character, _text(args, budget)))


def _urlquery(args: Sequence[Any], budget: Budget) -> str:
    return quote_plus(to_bytes(_text(args, budget)), safe="-_.~")


# What Ollama adds.


def to_json(value: Any, budget: Budget) -> str:
    """Compact JSON as Go's encoder writes it, keys in order, ``<``, ``>`` and ``&`` escaped.

    Returns:
        "" for what JSON has no word for.
    """
    try:
        text = encode(_plain(value, budget)).decode()
    except ValueError:
        return ""
    budget.allow(len(text))
    return text


def _plain(value: Any, budget: Budget) -> Any:
    budget.charge(1)
    if isinstance(value, Struct):
        return _plain(value.plain(), budget)
    if value is NO_VALUE or (is_nil(value) and value is not None):
        return None
    if isinstance(value, dict):
        items = value.items() if isinstance(value, Ordered) else sorted(value.items())
        return {key: _plain(item, budget) for key, item in items}
    if isinstance(value, list | tuple):
        return [_plain(item, budget) for item in value]
    if isinstance(value, complex):
        raise ValueError("json: unsupported type: complex128")
    return number(value) if isinstance(value, float) else value


def _json(args: Sequence[Any], budget: Budget) -> str:
    return to_json(args[0], budget)


def _current_date(args: Sequence[Any], budget: Budget) -> str:
    return datetime.datetime.now().date().isoformat()


def _yesterday_date(args: Sequence[Any], budget: Budget) -> str:
    return (datetime.datetime.now().date() - datetime.timedelta(days=1)).isoformat()


_TYPESCRIPT = {
    "string": "string", "number": "number", "integer": "number", "boolean": "boolean",
    "array": "any[]", "object": "Record<string, any>", "null": "null",
}  # fmt: skip


def typescript_type(types: Sequence[str]) -> str:
    """JSON types as one of TypeScript."""
    return " | ".join(_TYPESCRIPT.get(name, "any") for name in types) or "any"


def _typescript(args: Sequence[Any], budget: Budget) -> str:
    method = methods_of(args[0]).get("ToTypeScriptType")
    return str(method(args[0])) if method else "any"


_ALL = 1 << 30

FUNCTIONS: dict[str, Function] = {
    "and": Function(lambda args, budget: None, 1, reflects=True),
    "or": Function(lambda args, budget: None, 1, reflects=True),
    "not": Function(lambda args, budget: not is_true(args[0]), 1, 1, reflects=True),
    "eq": Function(_eq, 1, reflects=True),
    "ne": Function(_ne, 2, 2, reflects=True),
    "lt": Function(_less, 2, 2, reflects=True),
    "le": Function(_le, 2, 2, reflects=True),
    "gt": Function(lambda args, budget: not _le(args, budget), 2, 2, reflects=True),
    "ge": Function(lambda args, budget: not _less(args, budget), 2, 2, reflects=True),
    "len": Function(_len, 1, 1, reflects=True),
    "index": Function(_index, 1, reflects=True),
    "slice": Function(_slice, 1, reflects=True),
    "call": Function(_call, 1, reflects=True),
    "print": Function(sprint),
    "println": Function(sprintln),
    "printf": Function(lambda args, budget: sprintf(args[0], args[1:], budget), 1, texts=1),
    "html": Function(_html),
    "js": Function(_js),
    "urlquery": Function(_urlquery),
    "json": Function(_json, 1, 1),
    "currentDate": Function(_current_date, texts=_ALL),
    "yesterdayDate": Function(_yesterday_date, texts=_ALL),
    "toTypeScriptType": Function(_typescript, 1, 1),
}
