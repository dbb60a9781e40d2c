"""Every field of the native requests has an effect or is refused by name; a new one needs a row."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.fields import Effect, Row, Shown, check_row
from trillama.base.adapters import AdapterChoice
from trillama.base.constraints import Constraint, ConstraintKind
from trillama.base.errors import Unsupported
from trillama.base.messages import Message
from trillama.base.turns import ToolChoice, ToolMode, TurnRequest
from trillama.wire.native import BODIES, chat_turn, generate_turn, read_chat, read_generate

NATIVE = "tests/api/test_native.py"
PICTURE = "cG5n"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "w", "parameters": SCHEMA}}
JSON = Constraint(ConstraintKind.JSON)

COMMON: dict[str, Row] = {
    "model": Effect("other", {"model": "other"}),
    "format": Effect("json", {"constraint": JSON}),
    "keep_alive": Effect("5m", {"keep_alive": 300 * 10**9}),
    "adapter": Effect("b", {"adapters": (AdapterChoice("b"),)}),
    "options": Effect({"top_k": 5}, {"options": {"top_k": 5}}),
    "think": Effect("high", {"think": "high"}),
    "truncate": Effect(True, {"truncate": True}),
    "shift": Effect(False, {"shift": False}),
    "logprobs": Effect(True, {"logprobs": 0}),
    "top_logprobs": Effect(3, {"logprobs": 3}, {"logprobs": True}),
    "stream": Shown(False, f"{NATIVE}::test_without_streaming_there_is_one_object"),
    "_debug_render_only": Shown(True, f"{NATIVE}::test_a_debug_record_shows_the_prompt"),
}
USER = Message("user", "x")
GENERATE: dict[str, Row] = {
    **COMMON,
    "prompt": Effect("y", {"messages": (Message("user", "y"),)}),
    "system": Effect("s", {"messages": (Message("system", "s"), USER)}),
    "suffix": Effect("y", {"suffix": "y"}),
    "template": Effect("{{ .Prompt }}", {"template": "{{ .Prompt }}"}),
    "context": Effect([1, 2], {"prefix": (1, 2)}),
    "raw": Effect(True, {"raw": "x", "messages": (), "wants_tokens": False}),
}
CHAT: dict[str, Row] = {
    **COMMON,
    "messages": Effect([{"role": "user", "content": "y"}], {"messages": (Message("user", "y"),)}),
    "tools": Effect([TOOL], {"tools": (TOOL,)}),
    "tool_choice": Effect(
        "required",
        {"tools": (TOOL,), "tool_choice": ToolChoice(ToolMode.REQUIRED)},
        {"tools": [TOOL]},
    ),
}


def generate(**fields: Any) -> TurnRequest:
    return generate_turn(read_generate(msgspec.json.encode({"model": "m", "prompt": "x"} | fields)))


def chat(**fields: Any) -> TurnRequest:
    messages = [{"role": "user", "content": "x"}]
    return chat_turn(read_chat(msgspec.json.encode({"model": "m", "messages": messages} | fields)))


def test_every_field_has_a_row() -> None:
    """Pictures are the only ones that are refused."""
    assert set(GENERATE) | {"images"} == set(BODIES["/api/generate"])
    assert set(CHAT) == set(BODIES["/api/chat"])


@pytest.mark.parametrize("name", GENERATE)
def test_a_field_of_generate_does_what_its_row_says(name: str) -> None:
    """An effect on what is asked, or on the records, which a test shows."""
    check_row(name, GENERATE[name], generate, {})


@pytest.mark.parametrize("name", CHAT)
def test_a_field_of_chat_does_what_its_row_says(name: str) -> None:
    """The same."""
    check_row(name, CHAT[name], chat, {})


def test_pictures_are_refused_by_name() -> None:
    """Until a model here can see; none at all are none."""
    seen = [{"role": "user", "content": "x", "images": [PICTURE]}]
    for ask in (lambda: generate(images=[PICTURE]), lambda: chat(messages=seen)):
        with pytest.raises(Unsupported, match="images"):
            ask()
    assert generate(images=[]) == generate()
