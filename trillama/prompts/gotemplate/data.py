"""What a Go template of a model is told: messages, tools and calls as Ollama's structs.

Where Ollama would print the fields of a struct in Go's notation, JSON is printed here: templates
written before that became so mean JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from trillama.base.messages import Message, ToolCall

from ..budget import current
from .functions import to_json, typescript_type
from .values import Map, Method, Ordered, Slice, Struct

_TYPE = "api.PropertyType"


def _as_json(value: Any) -> str:
    return to_json(value, current())


_JSON_TEXT: Mapping[str, Method] = {"String": _as_json}


class _Arguments(Map):
    go_type = "template.templateArgs"
    methods = _JSON_TEXT


class _Properties(Map):
    go_type = "template.templateProperties"
    methods: Mapping[str, Method] = {**_JSON_TEXT, "Len": len, "ToMap": dict, "All": dict}


class _Tools(Slice):
    go_type = "template.templateTools"
    methods = _JSON_TEXT


def _type_text(value: Any) -> str:
    return str(value[0]) if len(value) == 1 else f"[{' '.join(value)}]"


class _Types(Slice):
    go_type = _TYPE
    methods: Mapping[str, Method] = {"String": _type_text}


class _Messages(Slice):
    go_type = "[]*template.templateMessage"


class _Calls(Slice):
    go_type = "[]template.templateToolCall"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Slice:
    return Slice(value if isinstance(value, list | tuple) else ())


def _struct(go_type: str, fields: dict[str, Any], plain: Callable[[], Any] | None = None) -> Struct:
    return Struct(go_type, fields, plain or (lambda: Ordered(fields)), _JSON_TEXT)


# Tools.


def _rest(given: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """What a definition holds that Ollama has no field for."""
    return {key: given[key] for key in given if key not in known}


def _types(value: Any) -> _Types:
    names = value if isinstance(value, list | tuple) else [value] if value else []
    return _Types(str(name) for name in names)


def _type_json(types: Sequence[str]) -> Any:
    return types[0] if len(types) == 1 else list(types)


def _property_typescript(value: Struct) -> str:
    if value.fields["AnyOf"]:
        return " | ".join(_property_typescript(one) for one in value.fields["AnyOf"])
    return typescript_type(value.fields["Type"])


_PROPERTY_METHODS: Mapping[str, Method] = {**_JSON_TEXT, "ToTypeScriptType": _property_typescript}
_PROPERTY_KEYS = ("anyOf", "type", "items", "description", "enum", "properties", "required")


def _property(value: Any) -> Struct:
    given = _mapping(value)
    fields: dict[str, Any] = {
        "AnyOf": Slice(map(_property, _list(given.get("anyOf")))),
        "Type": _types(given.get("type")),
        "Items": given.get("items"),
        "Description": given.get("description") or "",
        "Enum": _list(given.get("enum")),
        "Properties": _properties(given.get("properties")),
        "Required": _list(given.get("required")),
    }

    def plain() -> Ordered:
        shown = [(key, fields[key[0].upper() + key[1:]]) for key in _PROPERTY_KEYS]
        found = Ordered((key, one) for key, one in shown if one)
        if "type" in found:
            found["type"] = _type_json(found["type"])
        found.update(_rest(given, _PROPERTY_KEYS))
        return found

    return Struct("api.ToolProperty", fields, plain, _PROPERTY_METHODS)


def _properties(value: Any) -> _Properties:
    found = _Properties((str(key), _property(one)) for key, one in _mapping(value).items())
    found.nil = not isinstance(value, Mapping)
    return found


_PARAMETER_KEYS = ("type", "$defs", "items", "required", "properties")


def _parameters(value: Any) -> Struct:
    given = _mapping(value)
    properties = _properties(given.get("properties"))
    fields: dict[str, Any] = {
        "Type": given.get("type") if isinstance(given.get("type"), str) else "",
        "Defs": given.get("$defs"),
        "Items": given.get("items"),
        "Required": _list(given.get("required")),
        "Properties": properties,
    }

    def plain() -> Ordered:
        found = Ordered(type=fields["Type"])
        for key, one in (("$defs", "Defs"), ("items", "Items"), ("required", "Required")):
            if fields[one]:
                found[key] = fields[one]
        found["properties"] = None if properties.nil else properties
        found.update(_rest(given, _PARAMETER_KEYS))
        return found

    return Struct("template.templateToolFunctionParameters", fields, plain, _JSON_TEXT)


def _function(value: Any) -> Struct:
    given = _mapping(value)
    fields: dict[str, Any] = {
        "Name": given.get("name") or "",
        "Description": given.get("description") or "",
        "Parameters": _parameters(given.get("parameters")),
    }

    def plain() -> Ordered:
        found = Ordered((key.lower(), one) for key, one in fields.items())
        found.update(_rest(given, found))
        return found

    return Struct("template.templateToolFunction", fields, plain, _JSON_TEXT)


def _tool(given: Mapping[str, Any]) -> Struct:
    fields: dict[str, Any] = {
        "Type": given.get("type") or "",
        "Items": given.get("items"),
        "Function": _function(given.get("function")),
    }

    def plain() -> Ordered:
        found = Ordered(type=fields["Type"])
        if fields["Items"]:
            found["items"] = fields["Items"]
        found["function"] = fields["Function"]
        return found

    return Struct("template.templateTool", fields, plain, _JSON_TEXT)


def tools_value(tools: Iterable[Mapping[str, Any]]) -> Slice:
    """``.Tools``; nil where there are none."""
    found = _Tools(map(_tool, tools))
    found.nil = not found
    return found


# Messages.


def _call(call: ToolCall) -> Struct:
    function = call.function
    arguments = _Arguments(function.arguments)
    inner: dict[str, Any] = {
        "Index": function.index,
        "Name": function.name,
        "Arguments": arguments,
    }
    shown = Ordered(name=function.name, arguments=arguments)
    called = _struct("template.templateToolCallFunction", inner)
    called.methods = {"String": lambda value: _as_json(shown)}
    fields: dict[str, Any] = {"ID": call.id, "Function": called}
    outer = _struct("template.templateToolCall", fields)
    outer.methods = {"String": lambda value: _as_json(Ordered(function=shown))}
    return outer


def message_value(message: Message) -> Struct:
    """One of ``.Messages``."""
    calls = _Calls(map(_call, message.tool_calls))
    calls.nil = not calls
    fields: dict[str, Any] = {
        "Role": message.role,
        "Content": message.content,
        "Thinking": message.thinking,
        "Images": Slice([0] * len(message.images)),
        "ToolCalls": calls,
        "ToolName": message.tool_name,
        "ToolCallID": message.tool_call_id,
    }
    return _struct("*template.templateMessage", fields)


def messages_value(messages: Iterable[Message]) -> Slice:
    """``.Messages``."""
    return _Messages(map(message_value, messages))


def thinking_values(think: bool | str | None) -> dict[str, Any]:
    """``.Think``, ``.ThinkLevel`` and ``.IsThinkSet``."""
    level = think if isinstance(think, str) else "medium" if think else ""
    return {"Think": bool(think), "ThinkLevel": level, "IsThinkSet": think is not None}
