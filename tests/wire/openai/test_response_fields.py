"""Every field of a response request has an effect or is refused by name; a new one needs a row."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from tests.support.fields import Effect, Label, Refused, Row, Shown, check_names, check_row
from trillama.base.adapters import AdapterChoice
from trillama.base.constraints import Constraint, ConstraintKind
from trillama.base.errors import BadField
from trillama.base.messages import Message
from trillama.base.turns import ToolChoice, ToolMode, TurnRequest
from trillama.wire.openai.responses import (
    LABELS,
    REFUSED,
    ResponsesRequest,
    read_response,
    response_turn,
)

BASE: dict[str, Any] = {"model": "m", "input": "x"}
TOOL = {"type": "function", "name": "w", "parameters": {"type": "object"}, "strict": True}
PARAMETERS = {"type": "object", "properties": {}}
NEUTRAL = ({"type": "function", "function": {"name": "w", "parameters": PARAMETERS}},)
SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
HERE = "tests/api/test_responses.py"


def option(name: str, value: Any) -> Effect:
    return Effect(value, {"options": {name: value}})


TABLE: dict[str, Row] = {
    "model": Effect("other", {"model": "other"}),
    "input": Effect([{"role": "user", "content": "y"}], {"messages": (Message("user", "y"),)}),
    "instructions": Effect("s", {"messages": (Message("system", "s"), Message("user", "x"))}),
    "max_output_tokens": Effect(7, {"options": {"num_predict": 7}}),
    "temperature": option("temperature", 0.5),
    "top_p": option("top_p", 0.5),
    "top_k": option("top_k", 5),
    "min_p": option("min_p", 0.5),
    "typical_p": option("typical_p", 0.5),
    "repeat_penalty": option("repeat_penalty", 1.5),
    "repeat_last_n": option("repeat_last_n", 5),
    "num_ctx": option("num_ctx", 512),
    "num_keep": option("num_keep", 5),
    "seed": option("seed", 5),
    "stop": Effect("a", {"options": {"stop": ["a"]}}),
    "options": Effect({"top_k": 5}, {"options": {"top_k": 5}}),
    "keep_alive": Effect("1s", {"keep_alive": 10**9}),
    "adapter": Effect("b", {"adapters": (AdapterChoice("b"),)}),
    "truncate": Effect(True, {"truncate": True}),
    "truncation": Effect("auto", {"truncate": True}),
    "grammar": Effect("root ::= x", {"constraint": Constraint(ConstraintKind.GBNF, "root ::= x")}),
    "reasoning": Effect({"effort": "minimal", "summary": "auto"}, {"think": "low"}),
    "text": Effect(
        {"format": SCHEMA},
        {"constraint": Constraint(ConstraintKind.SCHEMA, '{"type":"object"}')},
    ),
    "tools": Effect([TOOL], {"tools": NEUTRAL}),
    "tool_choice": Effect(
        {"type": "function", "name": "w"},
        {"tools": NEUTRAL, "tool_choice": ToolChoice(ToolMode.NAMED, "w")},
        {"tools": [TOOL]},
    ),
    "parallel_tool_calls": Effect(False, {"parallel_tool_calls": False}),
    "top_logprobs": Effect(3, {"logprobs": 3}),
    "include": Effect(["message.output_text.logprobs"], {"logprobs": 0}),
    "previous_response_id": Shown("resp_1", f"{HERE}::test_a_response_is_gone_on_with"),
    "store": Shown(False, f"{HERE}::test_what_is_not_to_be_stored_is_not"),
    "stream": Shown(True, f"{HERE}::test_a_response"),
    "stream_options": Shown({"include_obfuscation": False}, f"{HERE}::test_a_response"),
    "metadata": Label({"a": "b"}),
    "user": Label("x"),
    "safety_identifier": Label("x"),
    "prompt_cache_key": Label("x"),
    "prompt_cache_retention": Label("24h"),
    "prompt_cache_options": Label({"mode": "implicit"}),
    "background": Refused(True),
    "context_management": Refused([{"type": "compaction"}]),
    "conversation": Refused("conv_1"),
    "max_tool_calls": Refused(3),
    "moderation": Refused({"model": "x"}),
    "prompt": Refused({"id": "x"}),
    "service_tier": Refused("flex"),
}


def turn(**fields: Any) -> TurnRequest:
    return response_turn(read_response(msgspec.json.encode(BASE | fields)))


def test_every_field_has_a_row() -> None:
    """Of the struct; and every field of the official client is one of the struct's."""
    official = set(ResponseCreateParamsBase.__annotations__)
    check_names(TABLE, ResponsesRequest, official, REFUSED)
    assert {name for name, row in TABLE.items() if isinstance(row, Label)} == set(LABELS)


@pytest.mark.parametrize("name", TABLE)
def test_a_field_does_what_its_row_says(name: str) -> None:
    """An effect on what is asked, an effect on the records that a test shows, or a refusal."""
    check_row(name, TABLE[name], turn, REFUSED)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "name": "w"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
            "input[0].content[0].type",
        ),
        (
            {"input": [{"role": "user", "content": [
                {"type": "input_image", "image_url": "https://x/y.png"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"truncation": "some"}, "truncation"),
        ({"top_logprobs": 21}, "top_logprobs"),
    ],
    ids=str,
)  # fmt: skip
def test_the_field_at_fault_is_named(fields: dict[str, Any], field: str) -> None:
    """With the path to it."""
    with pytest.raises(BadField) as refused:
        turn(**fields)

    assert refused.value.field == field
