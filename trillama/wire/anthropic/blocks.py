"""Conversations of this dialect in neutral words: blocks of text, pictures, thinking, tool use.

Blocks of what the model itself said are joined as they are, for it said them in one go; those of
others by line breaks. Results of tools become messages of their own, before what else a user says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...base.errors import BadField, UnsupportedField
from ...base.messages import Message, ToolCall, ToolFunction
from ..media import base64_data, data_url

_SILENT = ("redacted_thinking",)
"""Blocks that no model here could read: another server's sealed reasoning."""


class Block(msgspec.Struct, kw_only=True):
    """A piece of a message; which fields count depends on ``type``."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    source: dict[str, Any] | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    tool_use_id: str | None = None
    content: str | list[Block] | None = None
    is_error: bool | None = None
    cache_control: Any = None


class AnthropicMessage(msgspec.Struct, kw_only=True):
    """One message."""

    role: str
    content: str | list[Block]


def conversation(
    system: str | Sequence[Block] | None, messages: Sequence[AnthropicMessage]
) -> tuple[Message, ...]:
    """Neutral messages, the system's first.

    Raises:
        BadRequest: something in them is malformed, or would have to be fetched; it is named.
    """
    if not messages:
        raise BadField("messages", "messages is required")
    found: list[Message] = []
    if text := _texts(system, "system"):
        found.append(Message("system", text))
    names: dict[str, str] = {}
    for at, message in enumerate(messages):
        found += _messages(message, f"messages[{at}]", names)
    return tuple(found)


def _texts(value: str | Sequence[Block] | None, place: str) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    for at, block in enumerate(value):
        if block.type != "text":
            raise UnsupportedField(f"{place}[{at}].type", f"no {block.type!r:.40} block")
    return "\n".join(block.text or "" for block in value)


def _messages(message: AnthropicMessage, place: str, names: dict[str, str]) -> list[Message]:
    role = message.role.lower()
    if role not in ("user", "assistant", "system"):
        raise BadField(f"{place}.role", f"no role {message.role!r:.40}")
    if isinstance(message.content, str):
        return [Message(role, message.content)]
    results: list[Message] = []
    said = _Said(f"{place}.content", names)
    for at, block in enumerate(message.content):
        if block.type == "tool_result":
            results.append(_result(block, f"{place}.content[{at}]", names))
        else:
            said.add(block, at)
    own = said.message(role)
    return [*results, *([own] if own is not None else [])]


class _Said:
    """Gathers the blocks of one message that are its own."""

    def __init__(self, place: str, names: dict[str, str]) -> None:
        self._place = place
        self._names = names
        self._texts: list[str] = []
        self._thinking: list[str] = []
        self._images: list[bytes] = []
        self._calls: list[ToolCall] = []

    def add(self, block: Block, at: int) -> None:
        """One more block."""
        place = f"{self._place}[{at}]"
        if block.type == "text":
            self._texts.append(_given(block.text, f"{place}.text"))
        elif block.type == "thinking":
            self._thinking.append(_given(block.thinking, f"{place}.thinking"))
        elif block.type == "image":
            self._images.append(_image(block, place))
        elif block.type == "tool_use":
            self._calls.append(self._call(block, place))
        elif block.type not in _SILENT:
            raise UnsupportedField(f"{place}.type", f"no {block.type!r:.40} block")

    def message(self, role: str) -> Message | None:
        """All of them, None if there was nothing to say."""
        if not (self._texts or self._thinking or self._images or self._calls):
            return None
        return Message(
            role,
            ("" if role == "assistant" else "\n").join(self._texts),
            thinking="".join(self._thinking),
            images=tuple(self._images),
            tool_calls=tuple(self._calls),
        )

    def _call(self, block: Block, place: str) -> ToolCall:
        for field in ("id", "name"):
            if not getattr(block, field):
                raise BadField(
                    f"{place}.{field}", f"tool_use block missing required '{field}' field"
                )
        arguments = {} if block.input is None else block.input
        if not isinstance(arguments, dict):
            raise BadField(f"{place}.input", f"{place}.input must be an object")
        assert block.id
        assert block.name
        self._names[block.id] = block.name
        return ToolCall(ToolFunction(block.name, arguments, len(self._calls)), block.id)


def _given(value: str | None, place: str) -> str:
    if value is None:
        raise BadField(place, f"{place} is required")
    return value


def _result(block: Block, place: str, names: dict[str, str]) -> Message:
    """What a tool answered; a failure says so, for a model has no other way to know."""
    name = _given(block.tool_use_id, f"{place}.tool_use_id")
    texts: list[str] = []
    images: list[bytes] = []
    inner = block.content or ()
    parts = (Block(type="text", text=inner),) if isinstance(inner, str) else inner
    for at, part in enumerate(parts):
        here = f"{place}.content[{at}]"
        if part.type == "text":
            texts.append(_given(part.text, f"{here}.text"))
        elif part.type == "image":
            images.append(_image(part, here))
        else:
            raise UnsupportedField(f"{here}.type", f"no {part.type!r:.40} block in a tool_result")
    text = "\n".join(texts)
    return Message(
        "tool",
        f"Error: {text}" if block.is_error else text,
        images=tuple(images),
        tool_name=names.get(name, ""),
        tool_call_id=name,
    )


def _image(block: Block, place: str) -> bytes:
    source = block.source or {}
    kind = source.get("type")
    if kind == "base64" and isinstance(source.get("data"), str):
        return base64_data(source["data"], f"{place}.source.data")
    if kind == "url" and isinstance(source.get("url"), str):
        return data_url(source["url"], f"{place}.source.url")
    if kind in ("base64", "url"):
        raise BadField(f"{place}.source", "invalid image source")
    raise UnsupportedField(
        f"{place}.source.type", f"no image source of type {kind!r:.40}, only base64"
    )
