"""Every field of a chat request has an effect or is refused by name; a new one needs a row."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from tests.support.fields import Effect, Label, Refused, Row, Shown, check_names, check_row
from trillama.base.adapters import AdapterChoice
from trillama.base.constraints import Constraint, ConstraintKind
from trillama.base.errors import BadField
from trillama.base.messages import Message
from trillama.base.turns import ToolChoice, ToolMode, TurnRequest
from trillama.wire.openai.chat import LABELS, REFUSED, ChatRequest, chat_turns, read_chat

BASE: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
PARAMETERS = {"type": "object", "properties": {}}
TOOL = {"type": "function", "function": {"name": "w", "parameters": PARAMETERS}}
SCHEMA = {"type": "object", "properties": {"b": {}, "a": {}}}


def option(name: str, value: Any) -> Effect:
    return Effect(value, {"options": {name: value}})


TABLE: dict[str, Row] = {
    "model": Effect("other", {"model": "other"}),
    "messages": Effect([{"role": "user", "content": "y"}], {"messages": (Message("user", "y"),)}),
    "max_tokens": Effect(7, {"options": {"num_predict": 7}}),
    "max_completion_tokens": Effect(7, {"options": {"num_predict": 7}}, {"max_tokens": 3}),
    "temperature": option("temperature", 0.5),
    "top_p": option("top_p", 0.5),
    "top_k": option("top_k", 5),
    "min_p": option("min_p", 0.5),
    "typical_p": option("typical_p", 0.5),
    "repeat_penalty": option("repeat_penalty", 1.5),
    "repeat_last_n": option("repeat_last_n", 5),
    "num_ctx": option("num_ctx", 512),
    "num_keep": option("num_keep", 5),
    "frequency_penalty": option("frequency_penalty", 0.5),
    "presence_penalty": option("presence_penalty", 0.5),
    "seed": option("seed", 5),
    "stop": Effect("a", {"options": {"stop": ["a"]}}),
    "logit_bias": option("logit_bias", {"5": -1.0}),
    "options": Effect(
        {"top_k": 5, "top_p": 0.1}, {"options": {"top_k": 5, "top_p": 0.2}}, {"top_p": 0.2}
    ),
    "keep_alive": Effect("5m", {"keep_alive": 300 * 10**9}),
    "adapter": Effect("b", {"adapters": (AdapterChoice("b"),)}),
    "truncate": Effect(True, {"truncate": True}),
    "grammar": Effect("root ::= x", {"constraint": Constraint(ConstraintKind.GBNF, "root ::= x")}),
    "reasoning_effort": Effect("none", {"think": False}),
    "reasoning": Effect({"effort": "xhigh"}, {"think": "max"}),
    "response_format": Effect(
        {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        {
            "constraint": Constraint(
                ConstraintKind.SCHEMA, '{"type":"object","properties":{"b":{},"a":{}}}'
            )
        },
    ),
    "tools": Effect([TOOL], {"tools": (TOOL,)}),
    "tool_choice": Effect(
        {"type": "function", "function": {"name": "w"}},
        {"tools": (TOOL,), "tool_choice": ToolChoice(ToolMode.NAMED, "w")},
        {"tools": [TOOL]},
    ),
    "parallel_tool_calls": Effect(False, {"parallel_tool_calls": False}),
    "logprobs": Effect(True, {"logprobs": 0}),
    "top_logprobs": Effect(3, {"logprobs": 3}, {"logprobs": True}),
    "n": Shown(3, "tests/api/test_openai.py::test_several_answers_share_the_prompt"),
    "stream": Shown(True, "tests/api/test_openai.py::test_a_chat"),
    "stream_options": Shown({"include_usage": True}, "tests/api/test_openai.py::test_a_chat"),
    "user": Label("someone"),
    "metadata": Label({"a": "b"}),
    "safety_identifier": Label("x"),
    "prompt_cache_key": Label("x"),
    "prompt_cache_retention": Label("24h"),
    "prompt_cache_options": Label({"mode": "implicit"}),
    "audio": Refused({"voice": "x"}),
    "function_call": Refused("auto"),
    "functions": Refused([{"name": "w"}]),
    "modalities": Refused(["text", "audio"]),
    "moderation": Refused({"model": "x"}),
    "prediction": Effect({"type": "content", "content": "x"}, {"prediction": "x"}),
    "service_tier": Refused("flex"),
    "store": Refused(True),
    "verbosity": Refused("low"),
    "web_search_options": Refused({}),
    "chat_template_kwargs": Refused({"a": 1}),
}


def turn(**fields: Any) -> TurnRequest:
    return chat_turns(read_chat(msgspec.json.encode(BASE | fields)))[0]


def test_every_field_has_a_row() -> None:
    """Of the struct; and every field of the official client is one of the struct's."""
    check_names(TABLE, ChatRequest, set(CompletionCreateParamsBase.__annotations__), REFUSED)
    assert {name for name, row in TABLE.items() if isinstance(row, Label)} == set(LABELS)


@pytest.mark.parametrize("name", TABLE)
def test_a_field_does_what_its_row_says(name: str) -> None:
    """An effect on what is asked, an effect on the records that a test shows, or a refusal."""
    check_row(name, TABLE[name], turn, REFUSED)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"temperature": "warm"}, "temperature"),
        ({"messages": "x"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": []}, "messages"),
        ({"model": " "}, "model"),
        ({"n": 65}, "n"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "v"}}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "w", "parameters": 5}}]},
            "tools[0].function.parameters",
        ),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_object"}, "grammar": "x"}, "grammar"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    ],
    ids=str,
)
def test_the_field_at_fault_is_named(fields: dict[str, Any], field: str) -> None:
    """With the path to it."""
    with pytest.raises(BadField) as refused:
        turn(**fields)

    assert refused.value.field == field


def test_json_mode_and_levels_of_effort() -> None:
    """``json_object`` is any object; "minimal" is low, "ultra" the most there is."""
    assert turn(response_format={"type": "json_object"}).constraint == Constraint(
        ConstraintKind.JSON
    )
    assert turn(response_format={"type": "text"}).constraint is None
    efforts = ("none", "minimal", "low", "medium", "high", "xhigh", "ultra", "max")
    assert [turn(reasoning_effort=effort).think for effort in efforts] == [
        False, "low", "low", "medium", "high", "max", "max", "max",
    ]  # fmt: skip


def test_seeds_of_several_answers_differ() -> None:
    """Each counts on from the first; without a seed each draws its own."""
    turns = chat_turns(read_chat(msgspec.json.encode(BASE | {"n": 3, "seed": 5})))
    free = chat_turns(read_chat(msgspec.json.encode(BASE | {"n": 2})))

    assert [one.options["seed"] for one in turns] == [5, 6, 7]
    assert free == [turn(), turn()]
