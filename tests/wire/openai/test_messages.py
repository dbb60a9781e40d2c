"""Conversations of OpenAI's dialect in neutral words."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from trillama.base.errors import BadField, UnsupportedField
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.wire.openai.messages import ChatMessage, conversation, tool_definitions

PICTURE = "data:image/png;base64," + base64.b64encode(b"png").decode()
CALL = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": '{"b":1,"a":2}'}}


def neutral(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return conversation(msgspec.convert(list(messages), list[ChatMessage]))


def test_roles_and_parts() -> None:
    """Developers are the system; text parts are joined by line breaks; pictures are bytes."""
    parts = [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
        {"type": "image_url", "image_url": PICTURE},
        {"type": "text", "text": "b"},
    ]
    found = neutral({"role": "Developer", "content": "s"}, {"role": "user", "content": parts})

    assert found == (Message("system", "s"), Message("user", "a\nb", images=(b"png", b"png")))


def test_calls_and_their_results() -> None:
    """Arguments are objects in their order; a result learns the tool's name from its call."""
    found = neutral(
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "18"}]},
        {"role": "assistant", "content": "so", "reasoning": "ha"},
    )
    call = ToolCall(ToolFunction("w", {"b": 1, "a": 2}), "c1")

    assert found == (
        Message("assistant", "", thinking="hm", tool_calls=(call,)),
        Message("tool", "18", tool_name="w", tool_call_id="c1"),
        Message("assistant", "so", thinking="ha"),
    )


def test_null_in_a_call_means_not_sent() -> None:
    """As everywhere: the call has no id, its kind is the only one, and nothing was handed over."""
    function = {"name": "w", "arguments": None}
    (found,) = neutral(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": None, "type": None, "function": function}],
        }
    )

    assert found.tool_calls == (ToolCall(ToolFunction("w", {})),)


def test_null_in_a_definition_means_not_sent() -> None:
    """A template would show it, and some would call a tool \"None\"."""
    function = {"name": "w", "description": None, "parameters": None, "strict": None}
    (found,) = tool_definitions([{"type": None, "function": function}], "tools")

    parameters = {"type": "object", "properties": {}}
    assert found == {"type": "function", "function": {"name": "w", "parameters": parameters}}


def test_a_refusal_is_what_was_said() -> None:
    """The history of another server may hold one."""
    refusal = {"type": "refusal", "refusal": "no"}
    found = neutral(
        {"role": "assistant", "content": None, "refusal": "never"},
        {"role": "assistant", "content": [refusal]},
    )

    assert [message.content for message in found] == ["never", "no"]


@pytest.mark.parametrize(
    ("message", "field", "kind"),
    [
        ({"content": [{"type": "text"}]}, "messages[0].content[0].text", BadField),
        ({"content": [{"type": "file"}]}, "messages[0].content[0].type", UnsupportedField),
        ({"content": [{"type": "input_audio"}]}, "messages[0].content[0].type", UnsupportedField),
        (
            {"content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/a.png"}}]},
            "messages[0].content[0].image_url",
            UnsupportedField,
        ),
        (
            {"content": [{"type": "image_url", "image_url": "file:///etc/passwd"}]},
            "messages[0].content[0].image_url",
            UnsupportedField,
        ),
        (
            {"content": [{"type": "image_url", "image_url": "data:image/png;base64,?"}]},
            "messages[0].content[0].image_url",
            BadField,
        ),
        (
            {"content": [{"type": "image_url", "image_url": "data:image/png,abc"}]},
            "messages[0].content[0].image_url",
            BadField,
        ),
        ({"content": [{"type": "image_url"}]}, "messages[0].content[0].image_url", BadField),
        ({"content": "x", "function_call": {}}, "messages[0].function_call", UnsupportedField),
        (
            {"tool_calls": [{"function": {"name": "w", "arguments": "[1]"}}]},
            "messages[0].tool_calls[0].function.arguments",
            BadField,
        ),
        (
            {"tool_calls": [{"type": "custom", "custom": {}}]},
            "messages[0].tool_calls[0].type",
            UnsupportedField,
        ),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_named(message: dict[str, Any], field: str, kind: Any) -> None:
    """With the path to it; nothing is ever fetched."""
    with pytest.raises(kind) as refused:
        neutral({"role": "assistant", **message})

    assert refused.value.field == field
