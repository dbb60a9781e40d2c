"""Tool definitions: those of the native dialect, and what those of every dialect have in common.

Types are checked as Ollama checks them, with its texts. Unlike there nothing is dropped: a schema
reaches the template as the client wrote it. What no template could do anything with, a tool without
a name, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.errors import BadRequest
from ..base.turns import ToolChoice, ToolMode
from . import goshape
from .goshape import Place

_NO_OBJECT = "Value looks like object, but can't find closing '}' symbol"
_EMPTY: dict[str, Any] = {"type": "object", "properties": {}}


def _inside(struct: str, table: goshape.Table) -> goshape.Reader:
    """An object read by ``table``, named ``struct`` in errors, and given back as it came."""

    def reader(value: Any, place: Place) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise place.mismatch(value, f"api.{struct}")
        goshape.fields(value, table, Place(struct, place.path))
        return value

    return reader


def _properties(value: Any, place: Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(_NO_OBJECT)
    for schema in value.values():
        if schema is not None:
            _property(schema, place)
    return value


def _property(value: Any, place: Place) -> Any:
    return _read_property(value, place)


def _types(value: Any, place: Place) -> Any:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise place.mismatch(value, "[]string")
    return [goshape.string(item, place) for item in value]


_read_property: goshape.Reader = _inside(
    "ToolProperty",
    {
        "type": _types,
        "description": goshape.string,
        "enum": goshape.list_of(goshape.anything, "[]interface {}"),
        "anyof": goshape.list_of(_property, "[]api.ToolProperty"),
        "properties": _properties,
        "required": goshape.list_of(goshape.string, "[]string"),
    },
)
_PARAMETERS = _inside(
    "ToolFunctionParameters",
    {
        "type": goshape.string,
        "required": goshape.list_of(goshape.string, "[]string"),
        "properties": _properties,
    },
)
_FUNCTION = _inside(
    "ToolFunction",
    {"name": goshape.string, "description": goshape.string, "parameters": _PARAMETERS},
)
_TOOL = _inside("Tool", {"type": goshape.string, "function": _FUNCTION})


def tool(value: Any, place: Place) -> dict[str, Any]:
    """One definition, with the parts that templates rely on.

    Raises:
        BadRequest: with Ollama's text for a wrong type; ours for a tool without a name.
    """
    function = _TOOL(value, place).get("function") or {}
    if not function.get("name"):
        raise BadRequest("a tool has no function.name")
    return completed(value)


def completed(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A definition that has a function, with the parts that templates rely on.

    What is null is left out: a template would show it to the model, or trip over it.
    """
    function = _given(definition["function"])
    given = _given(function.get("parameters", {}))
    filled = given | {key: part for key, part in _EMPTY.items() if key not in given}
    function["parameters"] = filled
    return {"type": "function", **_given(definition), "function": function}


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {key: part for key, part in members.items() if part is not None}


tools = goshape.list_of(tool, "api.Tools")


@goshape.described(type=["string", "object"])
def tool_choice(value: Any, place: Place) -> ToolChoice:
    """``auto``, ``none``, ``required`` or ``{"type": "function", "function": {"name": …}}``.

    A field of OpenAI's that Ollama's dialect has no word for.
    """
    if isinstance(value, dict):
        function = value.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and name:
            return ToolChoice(ToolMode.NAMED, name)
    elif value in (ToolMode.AUTO, ToolMode.NONE, ToolMode.REQUIRED):
        return ToolChoice(ToolMode(value))
    raise BadRequest('tool_choice must be "auto", "none", "required" or the name of a function')
