"""What a Go template computes with, as Python values.

| Go | here |
|---|---|
| bool, int, float64, string | bool, int, float, str |
| ``map[string]any``, ``[]any`` | dict with string keys, list or tuple |
| struct, named map, named slice | ``Struct``, ``Map``, ``Slice`` |
| nil in an interface | None |
| no value at all | ``NO_VALUE`` |

All are immutable for a template. The last two differ in Go: printing either gives ``<no value>``,
but a field of nil is an error and a field of nothing is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class ExecError(Exception):
    """The template cannot be executed; the text is Go's, without the place."""


class _NoValue:
    def __repr__(self) -> str:
        return "<no value>"


NO_VALUE = _NoValue()

Method = Callable[[Any], Any]
"""A method without arguments; takes its receiver."""


class Struct:
    """A value with named fields; one is made per message, so it is cheap.

    Attributes:
        go_type: name in errors.
        fields: by name.
        methods: by name; "String" is how it prints.
        plain: what ``json`` writes.
    """

    __slots__ = ("fields", "go_type", "methods", "plain")

    def __init__(
        self,
        go_type: str,
        fields: Mapping[str, Any],
        plain: Callable[[], Any],
        methods: Mapping[str, Method] | None = None,
    ) -> None:
        self.go_type = go_type
        self.fields = fields
        self.plain = plain
        self.methods = methods or {}


class Map(dict[str, Any]):
    """A named map type with methods; ``nil`` where Go has a nil map."""

    go_type = "map[string]interface {}"
    methods: Mapping[str, Method] = {}
    nil = False


class Slice(list[Any]):
    """A named slice type with methods; ``nil`` where Go has a nil slice."""

    go_type = "[]interface {}"
    methods: Mapping[str, Method] = {}
    nil = False


class Ordered(dict[str, Any]):
    """Fields of a struct for JSON, which keeps their order; other maps are sorted."""


class Byte(int):
    """A byte of a string, Go's uint8."""


def methods_of(value: Any) -> Mapping[str, Method]:
    """The methods a value has."""
    return value.methods if isinstance(value, Struct | Map | Slice) else {}


_NAMES: tuple[tuple[Any, str], ...] = (
    (bool, "bool"),
    (Byte, "uint8"),
    (int, "int"),
    (float, "float64"),
    (complex, "complex128"),
    (str, "string"),
    (dict, "map[string]interface {}"),
    ((list, tuple), "[]interface {}"),
)


def type_name(value: Any) -> str:
    """What Go calls the type of ``value``."""
    if isinstance(value, Struct | Map | Slice):
        return value.go_type
    return next((name for kinds, name in _NAMES if isinstance(value, kinds)), "<nil>")


def is_true(value: Any) -> bool:
    """Go's truth of a value: not zero, not empty, not nil; a struct is true."""
    if isinstance(value, Struct):
        return True
    return value is not NO_VALUE and bool(value)


def is_nil(value: Any) -> bool:
    """Nil, nothing, or a nil map or slice."""
    return value is None or value is NO_VALUE or getattr(value, "nil", False)
