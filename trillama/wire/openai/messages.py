"""Conversations of this dialect in neutral words: roles, parts, pictures, tool calls and results.

The text parts of a message are joined by line breaks. ``developer`` is the system. A tool's result
gets the name of the tool from the call it answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...base.errors import BadField, BadRequest, UnsupportedField
from ...base.messages import Message, ToolCall, ToolFunction
from ..media import data_url
from ..tools import completed


class Part(msgspec.Struct, kw_only=True):
    """A piece of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: Any = None


class CalledFunction(msgspec.Struct, kw_only=True):
    """What an assistant called; arguments are a JSON object in a string."""

    name: str
    arguments: str | None = None


class MadeCall(msgspec.Struct, kw_only=True):
    """One call of an assistant message."""

    id: str | None = None
    type: str | None = None
    function: CalledFunction | None = None


class ChatMessage(msgspec.Struct, kw_only=True):
    """One message.

    Attributes:
        name: of who speaks; of the tool where the role is "tool".
        reasoning, reasoning_content: two names for the same.
    """

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[MadeCall] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    function_call: Any = None
    audio: Any = None


def conversation(messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """Neutral messages.

    Raises:
        BadRequest: something in them is malformed, or would have to be fetched; it is named.
    """
    if not messages:
        raise BadField("messages", "[] is too short - 'messages'")
    names: dict[str, str] = {}
    return tuple(_message(one, f"messages[{at}]", names) for at, one in enumerate(messages))


def _message(message: ChatMessage, place: str, names: dict[str, str]) -> Message:
    for field in ("function_call", "audio"):
        if getattr(message, field) is not None:
            raise UnsupportedField(f"{place}.{field}")
    calls = tool_calls(message.tool_calls or (), f"{place}.tool_calls")
    names |= {call.id: call.function.name for call in calls}
    text, images = content(message.content, f"{place}.content")
    if message.content is None:
        if not calls and message.refusal is None:
            raise BadField(f"{place}.content", "invalid message content type: <nil>")
        text = message.refusal or ""
    role = message.role.lower()
    return Message(
        role="system" if role == "developer" else role,
        content=text,
        thinking=message.reasoning_content or message.reasoning or "",
        images=images,
        tool_calls=calls,
        tool_name=message.name or names.get(message.tool_call_id or "", ""),
        tool_call_id=message.tool_call_id or "",
    )


def content(value: str | Sequence[Part] | None, place: str) -> tuple[str, tuple[bytes, ...]]:
    """Text and pictures."""
    if value is None or isinstance(value, str):
        return value or "", ()
    texts: list[str] = []
    images: list[bytes] = []
    for at, part in enumerate(value):
        here = f"{place}[{at}]"
        if part.type == "text" and part.text is not None:
            texts.append(part.text)
        elif part.type == "refusal" and part.refusal is not None:
            texts.append(part.refusal)
        elif part.type == "image_url":
            images.append(_image(part.image_url, f"{here}.image_url"))
        elif part.type in ("text", "refusal"):
            raise BadField(f"{here}.{part.type}", "invalid message format")
        else:
            raise UnsupportedField(f"{here}.type", f"no content part of type {part.type!r:.40}")
    return "\n".join(texts), tuple(images)


def _image(value: Any, place: str) -> bytes:
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str):
        raise BadField(place, "invalid message format")
    return data_url(url, place)


def tool_calls(calls: Sequence[MadeCall], place: str) -> tuple[ToolCall, ...]:
    """Calls with their arguments as objects."""
    found: list[ToolCall] = []
    for at, call in enumerate(calls):
        if call.type not in (None, "function") or call.function is None:
            raise UnsupportedField(f"{place}[{at}].type", f"no tool call of type {call.type!r:.40}")
        text, here = call.function.arguments or "", f"{place}[{at}].function.arguments"
        function = ToolFunction(call.function.name, call_arguments(text, here), at)
        found.append(ToolCall(function, call.id or ""))
    return tuple(found)


def call_arguments(text: str, place: str) -> dict[str, Any]:
    """The object in a string of JSON; "" is an empty one."""
    try:
        value = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        value = None
    if not isinstance(value, dict):
        raise BadField(place, "invalid tool call arguments")
    return value


def tool_definitions(tools: Sequence[Mapping[str, Any]], place: str) -> tuple[dict[str, Any], ...]:
    """Definitions that can be handed to a template: functions with a name, and objects inside.

    Raises:
        BadRequest: one of another type, or malformed.
    """
    for at, tool in enumerate(tools):
        here = f"{place}[{at}]"
        kind = tool.get("type")
        if kind not in (None, "function"):
            raise UnsupportedField(f"{here}.type", f"no tool of type {kind!r:.40}")
        function = tool.get("function")
        if not isinstance(function, dict):
            raise BadField(f"{here}.function", f"{here}.function must be an object")
        check_function(function, f"{here}.function")
    names = [tool["function"]["name"] for tool in tools]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadRequest(f"two tools have the name {twice[0]!r:.80}")
    return tuple(map(completed, tools))


def check_function(function: Mapping[str, Any], place: str) -> None:
    """Refuse a definition that lacks a name, or whose schema is no object."""
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise BadField(f"{place}.name", f"{place}.name must be a string")
    for field, kind in (("description", str), ("parameters", dict)):
        value = function.get(field)
        if value is not None and not isinstance(value, kind):
            words = "a string" if kind is str else "an object"
            raise BadField(f"{place}.{field}", f"{place}.{field} must be {words}")
