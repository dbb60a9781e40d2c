"""Items of a response's input in neutral words."""

from __future__ import annotations

from typing import Any

import msgspec

from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.wire.openai.items import Item, conversation


def neutral(*items: dict[str, Any], before: tuple[Message, ...] = ()) -> tuple[Message, ...]:
    return conversation(msgspec.convert(list(items), list[Item]), before)


def call(name: str, id: str) -> dict[str, Any]:  # noqa: A002
    return {"type": "function_call", "name": name, "call_id": id, "arguments": '{"a":1}'}


def made(name: str, id: str, index: int = 0) -> ToolCall:  # noqa: A002
    return ToolCall(ToolFunction(name, {"a": 1}, index), id)


def test_calls_belong_to_what_was_said_before_them() -> None:
    """And reasoning to what was said after it; results know their tool's name."""
    found = neutral(
        {"role": "developer", "content": "s"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "wait"}]},
        call("w", "1"),
        call("v", "2"),
        {"type": "function_call_output", "call_id": "2", "output": "x"},
        {"type": "reasoning", "encrypted_content": "ha"},
        call("w", "3"),
    )

    assert found == (
        Message("system", "s"),
        Message("assistant", "wait", thinking="hm", tool_calls=(made("w", "1"), made("v", "2", 1))),
        Message("tool", "x", tool_name="v", tool_call_id="2"),
        Message("assistant", "", thinking="ha", tool_calls=(made("w", "3"),)),
    )


def test_what_was_said_before_comes_first() -> None:
    """A result may answer a call of an earlier response."""
    before = (Message("assistant", "", tool_calls=(made("w", "1"),)),)
    result = {"type": "function_call_output", "call_id": "1", "output": "x"}

    assert neutral(result, before=before) == (
        *before,
        Message("tool", "x", tool_name="w", tool_call_id="1"),
    )
    assert conversation("y", before) == (*before, Message("user", "y"))


def test_reasoning_that_nothing_followed() -> None:
    """It is a message of its own."""
    found = neutral(
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    )

    assert found == (Message("assistant", "", thinking="hm"),)
