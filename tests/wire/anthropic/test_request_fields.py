"""Every field of Anthropic's requests has an effect or is refused; a new one needs a row."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsBase as BetaParams
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsBase

from tests.support.fields import Effect, Label, Refused, Row, Shown, check_names, check_row
from trillama.base.adapters import AdapterChoice
from trillama.base.constraints import Constraint, ConstraintKind
from trillama.base.errors import BadField
from trillama.base.messages import Message
from trillama.base.turns import ToolChoice, ToolMode, TurnRequest
from trillama.wire.anthropic.requests import (
    COUNT_REFUSED,
    LABELS,
    REFUSED,
    CountRequest,
    MessagesRequest,
    count_turn,
    messages_turn,
    read_count,
    read_messages,
)

BASE: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "x"}],
}
TOOL = {"name": "w", "description": "d", "input_schema": {"type": "object"}, "strict": True}
FUNCTION = {"name": "w", "description": "d", "parameters": {"type": "object"}}
NEUTRAL = ({"type": "function", "function": FUNCTION},)
FORMAT = {"type": "json_schema", "schema": {"type": "object"}}
SCHEMA = Constraint(ConstraintKind.SCHEMA, '{"type":"object"}')
SHOWN = "tests/api/test_anthropic.py::test_a_message"


def option(name: str, value: Any) -> Effect:
    return Effect(value, {"options": {"num_predict": 9, name: value}})


COUNTED: dict[str, Row] = {
    "model": Effect("other", {"model": "other"}),
    "messages": Effect([{"role": "user", "content": "y"}], {"messages": (Message("user", "y"),)}),
    "system": Effect(
        [{"type": "text", "text": "a", "cache_control": {}}, {"type": "text", "text": "b"}],
        {"messages": (Message("system", "a\nb"), Message("user", "x"))},
    ),
    "thinking": Effect({"type": "disabled"}, {"think": False}),
    "output_config": Effect(
        {"effort": "XHigh ", "format": FORMAT}, {"think": "high", "constraint": SCHEMA}
    ),
    "output_format": Effect(FORMAT, {"constraint": SCHEMA}),
    "tools": Effect([TOOL], {"tools": NEUTRAL}),
    "tool_choice": Effect(
        {"type": "tool", "name": "w", "disable_parallel_tool_use": True},
        {
            "tools": NEUTRAL,
            "tool_choice": ToolChoice(ToolMode.NAMED, "w"),
            "parallel_tool_calls": False,
        },
        {"tools": [TOOL]},
    ),
    "cache_control": Label({"type": "ephemeral"}),
    "betas": Label(["x"]),
    "user_profile_id": Label("x"),
    "workspace_id": Label("x"),
    "context_management": Refused({"edits": [{"type": "clear_tool_uses_20250919"}]}),
    "mcp_servers": Refused([{"url": "http://x"}]),
    "speed": Refused("fast"),
}
TABLE: dict[str, Row] = {
    **COUNTED,
    "max_tokens": Effect(7, {"options": {"num_predict": 7}}),
    "stream": Shown(True, SHOWN),
    "stop_sequences": Effect(["a"], {"options": {"num_predict": 9, "stop": ["a"]}}),
    "temperature": option("temperature", 0.5),
    "top_p": option("top_p", 0.5),
    "top_k": option("top_k", 5),
    "options": Effect(
        {"top_k": 4, "top_p": 0.1},
        {"options": {"num_predict": 9, "top_k": 5, "top_p": 0.1}},
        {"top_k": 5},
    ),
    "adapter": Effect("b", {"adapters": (AdapterChoice("b"),)}),
    "metadata": Label({"user_id": "x"}),
    "service_tier": Refused("priority"),
    "billing_policy": Refused({}),
    "compaction": Refused({}),
    "container": Refused("x"),
    "diagnostics": Refused({}),
    "fallback_credit_token": Refused("x"),
    "fallbacks": Refused([{"model": "x"}]),
    "inference_geo": Refused("eu"),
    "thread": Refused({}),
}


def turn(**fields: Any) -> TurnRequest:
    return messages_turn(read_messages(msgspec.json.encode(BASE | fields)))


def counted(**fields: Any) -> TurnRequest:
    body = {name: value for name, value in BASE.items() if name != "max_tokens"} | fields
    return count_turn(read_count(msgspec.json.encode(body)))


def test_every_field_has_a_row() -> None:
    """Of the structs; and every field of the official client, beta ones too, is among them."""
    official = {*MessageCreateParamsBase.__annotations__, *BetaParams.__annotations__}
    check_names(TABLE, MessagesRequest, official, REFUSED)
    official = set(MessageCountTokensParams.__annotations__)
    check_names(COUNTED, CountRequest, official, COUNT_REFUSED)
    assert {name for name, row in TABLE.items() if isinstance(row, Label)} == set(LABELS)


@pytest.mark.parametrize("name", TABLE)
def test_a_field_does_what_its_row_says(name: str) -> None:
    """An effect on what is asked, an effect on the records that a test shows, or a refusal."""
    check_row(name, TABLE[name], turn, REFUSED)


@pytest.mark.parametrize("name", COUNTED)
def test_a_field_is_counted_as_it_would_be_answered(name: str) -> None:
    """Counting asks for the same prompt."""
    check_row(name, COUNTED[name], counted, COUNT_REFUSED)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name"),
        ({"tools": [TOOL | {"defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool", "name": "v"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "deep"}}, "thinking.type"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, "thinking.display"),
        ({"output_config": {"effort": "extreme"}}, "output_config.effort"),
        ({"output_config": {"task_budget": {}}}, "output_config.task_budget"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ],
    ids=str,
)
def test_the_field_at_fault_is_named(fields: dict[str, Any], field: str) -> None:
    """With the path to it."""
    with pytest.raises(BadField) as refused:
        turn(**fields)

    assert refused.value.field == field


def test_thinking_decides_before_the_effort() -> None:
    """Adaptive leaves it to the effort; nothing at all to the model."""
    effort = {"effort": "max"}
    assert turn(thinking={"type": "enabled"}, output_config=effort).think is True
    assert turn(thinking={"type": "adaptive"}, output_config=effort).think == "max"
    assert turn(thinking={"type": "adaptive"}).think is None
