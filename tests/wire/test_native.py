"""Bodies of the native dialect: what is read, what is refused and how."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from trillama.base.durations import FOREVER, SECOND
from trillama.base.errors import BadRequest, NotFound, Unsupported
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.wire.native import (
    ChatRequest,
    GenerateRequest,
    chat_turn,
    generate_turn,
    read_chat,
    read_generate,
)

THINK = '"high", "medium", "low", "max", true, or false'
FIELD = "json: cannot unmarshal {} into Go struct field {} of type {}"

BAD_GENERATE = {
    "[]": "json: cannot unmarshal array into Go value of type api.GenerateRequest",
    '"x"': "json: cannot unmarshal string into Go value of type api.GenerateRequest",
    '{"model":1}': FIELD.format("number", "GenerateRequest.model", "string"),
    '{"stream":"false"}': FIELD.format("string", "GenerateRequest.stream", "bool"),
    '{"options":[]}': FIELD.format("array", "GenerateRequest.options", "map[string]interface {}"),
    '{"context":[1.5]}': FIELD.format("number 1.5", "GenerateRequest.context", "int"),
    '{"context":"x"}': FIELD.format("string", "GenerateRequest.context", "[]int"),
    '{"prompt":[],"model":1}': FIELD.format("array", "GenerateRequest.prompt", "string"),
    '{"images":["data:image/png;base64,AAAA"]}': "illegal base64 data at input byte 4",
    '{"images":["AAA"]}': "illegal base64 data at input byte 0",
    '{"think":"foo"}': f'invalid think value: "foo" (must be {THINK})',
    '{"think":1}': f"think must be a boolean or string ({THINK})",
    '{"think":{}}': f"think must be a boolean or string ({THINK})",
    '{"keep_alive":"abc"}': 'time: invalid duration "abc"',
    '{"keep_alive":""}': 'time: invalid duration ""',
    '{"keep_alive":"10"}': 'time: missing unit in duration "10"',
    '{"keep_alive":"-1"}': 'time: missing unit in duration "-1"',
    '{"keep_alive":"1d"}': 'time: unknown unit "d" in duration "1d"',
    '{"keep_alive":true}': "Unsupported type: 'bool'",
    '{"keep_alive":{}}': "Unsupported type: 'map[string]interface {}'",
    '{"keep_alive":[]}': "Unsupported type: '[]interface {}'",
    '{"top_logprobs":21}': "top_logprobs must be between 0 and 20",
    '{"top_logprobs":-1}': "top_logprobs must be between 0 and 20",
    '{"top_logprobs":1.5}': FIELD.format("number 1.5", "GenerateRequest.top_logprobs", "int"),
}

BAD_CHAT = {
    "[]": "json: cannot unmarshal array into Go value of type api.ChatRequest",
    '{"messages":"x"}': FIELD.format("string", "ChatRequest.messages", "[]api.Message"),
    '{"messages":["x"]}': FIELD.format("string", "ChatRequest.messages", "api.Alias"),
    '{"messages":[{"content":[{"type":"text"}]}]}': FIELD.format(
        "array", "ChatRequest.messages.content", "string"
    ),
    '{"messages":[{"tool_calls":[{"function":{"arguments":"{}"}}]}]}': (
        "Value looks like object, but can't find closing '}' symbol"
    ),
    '{"messages":[{"tool_calls":[{"function":{"arguments":[]}}]}]}': (
        "Value looks like object, but can't find closing '}' symbol"
    ),
}


@pytest.mark.parametrize(("body", "message"), BAD_GENERATE.items())
def test_generate_refuses_in_ollamas_words(body: str, message: str) -> None:
    """Each malformed field of a generate request gets Ollama's text."""
    with pytest.raises(BadRequest) as refused:
        read_generate(body.encode())

    assert message == refused.value.message


@pytest.mark.parametrize(("body", "message"), BAD_CHAT.items())
def test_chat_refuses_in_ollamas_words(body: str, message: str) -> None:
    """Each malformed field of a chat request gets Ollama's text."""
    with pytest.raises(BadRequest) as refused:
        read_chat(body.encode())

    assert message == refused.value.message


def test_unset_fields_have_ollamas_defaults() -> None:
    """``null`` and absence are the same; streaming is on unless refused."""
    nulls = '{"model":null,"stream":null,"context":null,"options":null,"keep_alive":null}'

    assert GenerateRequest() == read_generate(b"{}") == read_generate(nulls.encode())
    assert GenerateRequest() == read_generate(b"null")
    assert read_generate(b"{}").stream
    assert ChatRequest() == read_chat(b'{"messages":null}')


def test_keys_match_without_case_when_none_matches_exactly() -> None:
    """``MODEL`` is read as ``model``; unknown fields are skipped; option names keep their case."""
    request = read_generate(b'{"MODEL":"x","Prompt":"p","unknown":{},"options":{"SEED":1}}')

    assert (request.model, request.prompt, request.options) == ("x", "p", {"SEED": 1})


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("null", None), ("0", 0), ("1.5", 3 * SECOND // 2), ("-1", FOREVER), ('"0"', 0),
        ('"5m"', 300 * SECOND), ('"1h30m"', 5400 * SECOND), ('"-1m"', FOREVER),
    ],
)  # fmt: skip
def test_keep_alive_is_read_as_ollama_reads_it(value: str, wanted: int | None) -> None:
    """Numbers are seconds, strings Go durations, anything negative means forever."""
    assert wanted == read_chat(f'{{"keep_alive":{value}}}'.encode()).keep_alive


@pytest.mark.parametrize("value", [True, False, "low", "medium", "high", "max", None])
def test_think_takes_booleans_and_levels(value: bool | str | None) -> None:
    """Every documented value of ``think`` arrives unchanged."""
    assert value == read_chat(json.dumps({"think": value}).encode()).think


def test_messages_keep_all_that_a_template_may_need() -> None:
    """Roles are lower-cased; thinking, calls and tool names survive."""
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": {"b": 1, "a": 2}},
    }
    body = {
        "messages": [
            {"role": "USER", "content": None},
            {"role": "assistant", "thinking": "hm", "tool_calls": [call]},
            {"role": "tool", "content": "42", "tool_name": "f", "tool_call_id": "c1"},
        ]
    }
    user, assistant, tool = read_chat(json.dumps(body).encode()).messages

    assert Message("user", "") == user
    assert (ToolCall(ToolFunction("f", {"b": 1, "a": 2}), "c1"),) == assistant.tool_calls
    assert assistant.thinking == "hm"
    assert (tool.content, tool.tool_name, tool.tool_call_id) == ("42", "f", "c1")


def test_pictures_are_decoded() -> None:
    """Padded base64 with newlines, and lists of byte values, become bytes."""
    text = base64.b64encode(b"\x89PNG...").decode()
    body = json.dumps({"images": [text[:4] + "\n" + text[4:], [1, 255]]})

    assert read_generate(body.encode()).images == [b"\x89PNG...", b"\x01\xff"]


# -- neutral words --------------------------------------------------------------------------------


def generate(**found: Any) -> GenerateRequest:
    return read_generate(json.dumps({"model": "m", **found}).encode())


def chat(**found: Any) -> ChatRequest:
    return read_chat(json.dumps({"model": "m", **found}).encode())


def test_generate_names_what_is_not_there_yet() -> None:
    """A known feature that is missing is a 400 that names the field, never silence."""
    with pytest.raises(Unsupported, match="images"):
        generate_turn(generate(prompt="p", images=["AAAA"]))


def test_chat_names_what_is_not_there_yet() -> None:
    """The same for pictures in the messages of a chat."""
    with pytest.raises(Unsupported, match="images"):
        chat_turn(chat(messages=[{"role": "user", "content": "x", "images": ["AAAA"]}]))


def test_empty_values_ask_for_nothing() -> None:
    """A feature that is named but not asked for is no reason to refuse."""
    empty = {"format": "", "images": [], "suffix": "", "template": "", "logprobs": False}

    assert generate_turn(generate(**empty, top_logprobs=3)).model == "m"
    assert chat_turn(chat(tools=[], format=None)).model == "m"


def test_a_missing_model_differs_by_endpoint() -> None:
    """Generate says 404 and chat 400, as Ollama's do."""
    with pytest.raises(NotFound, match=r"^model '' not found$"):
        generate_turn(read_generate(b"{}"))
    with pytest.raises(BadRequest, match=r"^model is required$"):
        chat_turn(read_chat(b"{}"))


@pytest.mark.parametrize("field", [{"system": "s"}, {"context": [1]}, {"template": "t"}])
def test_raw_excludes_what_a_template_would_place(field: dict[str, Any]) -> None:
    """Raw text has no place for a system prompt or a context."""
    with pytest.raises(BadRequest, match="raw mode does not support template, system, or context"):
        generate_turn(generate(prompt="p", raw=True, **field))


def test_raw_text_has_no_gap() -> None:
    """A suffix beside a raw prompt would be lost, so it is refused."""
    with pytest.raises(BadRequest, match="raw mode does not support suffix"):
        generate_turn(generate(prompt="p", raw=True, suffix="s"))


def test_generate_takes_a_template_and_a_suffix() -> None:
    """Both arrive as they came."""
    turn = generate_turn(generate(prompt="p", template="{{ .Prompt }}", suffix="s"))

    assert (turn.template, turn.suffix) == ("{{ .Prompt }}", "s")


def test_generate_becomes_a_conversation() -> None:
    """System and prompt become messages; context becomes a prefix; tokens are asked for."""
    turn = generate_turn(generate(prompt="p", system="s", context=[1, 2], truncate=False))

    assert (Message("system", "s"), Message("user", "p")) == turn.messages
    assert (turn.prefix, turn.truncate, turn.wants_tokens) == ((1, 2), False, True)


def test_raw_text_stays_as_it_is() -> None:
    """Raw mode has no messages and returns no context."""
    turn = generate_turn(generate(prompt="<x>", raw=True))

    assert (turn.raw, turn.messages, turn.wants_tokens) == ("<x>", (), False)


@pytest.mark.parametrize(
    ("turn", "loads", "unloads"),
    [
        (generate_turn(generate()), True, False),
        (generate_turn(generate(system="s", keep_alive=0)), True, True),
        (generate_turn(generate(prompt="p", keep_alive=0)), False, False),
        (generate_turn(generate(raw=True, keep_alive="0s")), True, True),
        (chat_turn(chat(keep_alive=0)), True, True),
        (chat_turn(chat()), True, False),
        (chat_turn(chat(messages=[{"role": "user"}], keep_alive=0)), False, False),
    ],
)
def test_nothing_to_answer_loads_or_unloads(turn: Any, loads: bool, unloads: bool) -> None:
    """An empty prompt or no messages load the model; with keep_alive 0 they unload it."""
    assert (loads, unloads) == (turn.only_loads, turn.only_unloads)
