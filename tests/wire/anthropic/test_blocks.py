"""Conversations of Anthropic's dialect in neutral words."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from trillama.base.errors import BadField, UnsupportedField
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.wire.anthropic.blocks import AnthropicMessage, conversation

DATA = base64.b64encode(b"png").decode()
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
USE = {"type": "tool_use", "id": "t1", "name": "w", "input": {"b": 1, "a": 2}}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def neutral(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return conversation(None, msgspec.convert(list(messages), list[AnthropicMessage]))


def test_blocks_of_one_message() -> None:
    """A user's texts stand on lines of their own; what the model said is joined as it was said."""
    thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
    found = neutral(
        {"role": "user", "content": [text("a"), PICTURE, text("b")]},
        {"role": "Assistant", "content": [thought, text("c"), text("d"), USE]},
    )
    call = ToolCall(ToolFunction("w", {"b": 1, "a": 2}), "t1")

    assert found == (
        Message("user", "a\nb", images=(b"png",)),
        Message("assistant", "cd", thinking="hm", tool_calls=(call,)),
    )


def test_results_come_first_and_know_their_tool() -> None:
    """Each is a message of its own; a failure says so."""
    results = [
        {"type": "tool_result", "tool_use_id": "t1", "content": [text("18"), PICTURE]},
        {"type": "tool_result", "tool_use_id": "t1", "content": "down", "is_error": True},
        {"type": "tool_result", "tool_use_id": "t2"},
    ]
    found = neutral(
        {"role": "assistant", "content": [USE]},
        {"role": "user", "content": [text("well?"), *results]},
    )

    assert found[1:] == (
        Message("tool", "18", images=(b"png",), tool_name="w", tool_call_id="t1"),
        Message("tool", "Error: down", tool_name="w", tool_call_id="t1"),
        Message("tool", "", tool_call_id="t2"),
        Message("user", "well?"),
    )


def test_sealed_reasoning_says_nothing() -> None:
    """No model here could read it."""
    assert neutral({"role": "assistant", "content": [{"type": "redacted_thinking"}]}) == ()


@pytest.mark.parametrize(
    ("block", "place", "kind"),
    [
        ({"type": "document"}, ".type", UnsupportedField),
        ({"type": "server_tool_use"}, ".type", UnsupportedField),
        ({"type": "text"}, ".text", BadField),
        ({"type": "thinking"}, ".thinking", BadField),
        ({"type": "tool_use", "name": "w"}, ".id", BadField),
        ({"type": "tool_use", "id": "t"}, ".name", BadField),
        ({"type": "tool_use", "id": "t", "name": "w", "input": "x"}, ".input", BadField),
        ({"type": "tool_result", "content": "x"}, ".tool_use_id", BadField),
        (
            {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "document"}]},
            ".content[0].type",
            UnsupportedField,
        ),
        ({"type": "image"}, ".source.type", UnsupportedField),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, ".source.type",
         UnsupportedField),
        ({"type": "image", "source": {"type": "base64"}}, ".source", BadField),
        ({"type": "image", "source": {"type": "base64", "data": "?"}}, ".source.data", BadField),
        ({"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/"}}, ".source.url",
         UnsupportedField),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_read_is_named(block: dict[str, Any], place: str, kind: Any) -> None:
    """With the path to it; nothing is ever fetched."""
    with pytest.raises(kind) as refused:
        neutral({"role": "user", "content": [block]})

    assert refused.value.field == f"messages[0].content[0]{place}"
