"""Tool definitions as clients send them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trillama.base.errors import BadRequest
from trillama.base.turns import ToolChoice, ToolMode
from trillama.wire.native import chat_turn, read_chat

FIELD = "json: cannot unmarshal {} into Go struct field {} of type {}"
OPEN = "Value looks like object, but can't find closing '}' symbol"
PARAMETERS = "ToolFunctionParameters.tools.function.parameters"
BAD: dict[str, tuple[Any, str]] = {
    "no list": ({}, FIELD.format("object", "ChatRequest.tools", "api.Tools")),
    "no object": (["x"], FIELD.format("string", "ChatRequest.tools", "api.Tool")),
    "type": ([{"type": 1}], FIELD.format("number", "Tool.tools.type", "string")),
    "function": (
        [{"function": []}], FIELD.format("array", "Tool.tools.function", "api.ToolFunction"),
    ),
    "name": (
        [{"function": {"name": 1}}],
        FIELD.format("number", "ToolFunction.tools.function.name", "string"),
    ),
    "type of the parameters": (
        [{"function": {"name": "f", "parameters": {"type": ["object"]}}}],
        FIELD.format("array", f"{PARAMETERS}.type", "string"),
    ),
    "properties": ([{"function": {"name": "f", "parameters": {"properties": []}}}], OPEN),
    "property": (
        [{"function": {"name": "f", "parameters": {"properties": {"a": {"description": 1}}}}}],
        FIELD.format(
            "number", "ToolProperty.tools.function.parameters.properties.description", "string"
        ),
    ),
    "no name": ([{"type": "function", "function": {}}], "a tool has no function.name"),
    "no function": ([{"name": "f"}], "a tool has no function.name"),
}  # fmt: skip


def read(**fields: Any) -> Any:
    return chat_turn(read_chat(json.dumps({"model": "m", **fields}).encode()))


@pytest.mark.parametrize("case", BAD)
def test_wrong_definitions_are_refused(case: str) -> None:
    """In Ollama's words where it refuses too."""
    tools, message = BAD[case]
    with pytest.raises(BadRequest) as refused:
        read(tools=tools)

    assert message == refused.value.message


def test_definitions_reach_the_template_as_they_are() -> None:
    """Nothing of a schema is dropped and no order changes; what templates rely on is filled in."""
    schema = {
        "required": ["a"],
        "properties": {"b": {"type": ["string"], "default": 1}, "a": {"anyOf": [{"type": "null"}]}},
        "additionalProperties": False,
        "type": "object",
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
    (kept,) = read(tools=[tool]).tools
    nulls = {"name": "f", "description": None, "parameters": {"type": None}}
    (bare,) = read(tools=[{"type": None, "function": nulls}]).tools

    assert json.dumps(kept) == json.dumps(tool)
    assert bare == {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
    }


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        (None, ToolChoice()),
        ("auto", ToolChoice()),
        ("none", ToolChoice(ToolMode.NONE)),
        ("required", ToolChoice(ToolMode.REQUIRED)),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice(ToolMode.NAMED, "f")),
    ],
)
def test_choices(sent: Any, wanted: ToolChoice) -> None:
    """OpenAI's field is understood here too."""
    assert read(tool_choice=sent).tool_choice == wanted


@pytest.mark.parametrize("sent", ["named", "f", 1, True, [], {}, {"function": {"name": 1}}])
def test_wrong_choices_are_refused(sent: Any) -> None:
    """Anything else is no choice."""
    with pytest.raises(BadRequest, match="tool_choice"):
        read(tool_choice=sent)
