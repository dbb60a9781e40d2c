"""Items of ``/v1/responses`` in neutral words: messages, calls, their results, reasoning.

A call belongs to the assistant's message before it, reasoning to the one after it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...base.errors import BadField, UnsupportedField
from ...base.messages import Message, ToolCall, ToolFunction
from ..media import data_url
from .messages import call_arguments


class ItemPart(msgspec.Struct, kw_only=True):
    """A piece of an item's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None


class Item(msgspec.Struct, kw_only=True):
    """One item; which fields count depends on ``type``, which a message may leave out."""

    type: str | None = None
    role: str | None = None
    content: str | list[ItemPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[ItemPart] | None = None
    summary: list[ItemPart] | None = None
    encrypted_content: str | None = None


def conversation(
    items: str | Sequence[Item] | None, before: tuple[Message, ...] = ()
) -> tuple[Message, ...]:
    """Neutral messages.

    Args:
        before: what was said in the responses this one goes on with.

    Raises:
        BadRequest: something in them is malformed, or would have to be fetched; it is named.
    """
    if not items:
        raise BadField("input", "input is required")
    if isinstance(items, str):
        return (*before, Message("user", items))
    reader = _Reader(list(before))
    for at, item in enumerate(items):
        reader.read(item, f"input[{at}]")
    return reader.messages()


class _Reader:
    def __init__(self, before: list[Message]) -> None:
        self._found = before
        self._thinking = ""
        self._names = {
            call.id: call.function.name for message in before for call in message.tool_calls
        }

    def messages(self) -> tuple[Message, ...]:
        """All of them; reasoning that nothing followed is a message of its own."""
        if self._thinking:
            self._found.append(Message("assistant", "", thinking=self._thinking))
        return tuple(self._found)

    def read(self, item: Item, place: str) -> None:
        """One more item."""
        kind = item.type or ("message" if item.role else None)
        if kind is None:
            raise BadField(f"{place}.type", f"{place}: input item missing required 'type' field")
        if kind == "message":
            self._message(item, place)
        elif kind == "function_call":
            self._call(item, place)
        elif kind == "function_call_output":
            self._result(item, place)
        elif kind == "reasoning":
            self._thinking += _reasoning(item)
        else:
            raise UnsupportedField(f"{place}.type", f"no input item of type {kind!r:.40}")

    def _message(self, item: Item, place: str) -> None:
        role = (item.role or "").lower()
        text, images = content(item.content, f"{place}.content")
        self._found.append(
            Message(
                "system" if role == "developer" else role,
                text,
                thinking=self._said_before(role),
                images=images,
            )
        )

    def _said_before(self, role: str) -> str:
        """Reasoning that waits for the assistant's next words."""
        if role != "assistant":
            return ""
        thinking, self._thinking = self._thinking, ""
        return thinking

    def _call(self, item: Item, place: str) -> None:
        if not item.call_id or not item.name:
            raise BadField(f"{place}.call_id", f"{place} needs a call_id and a name")
        arguments = call_arguments(item.arguments or "", f"{place}.arguments")
        self._names[item.call_id] = item.name
        last = self._found[-1] if self._found else None
        if last is None or last.role != "assistant" or self._thinking:
            last = Message("assistant", "", thinking=self._said_before("assistant"))
        else:
            self._found.pop()
        call = ToolCall(ToolFunction(item.name, arguments, len(last.tool_calls)), item.call_id)
        calls = (*last.tool_calls, call)
        self._found.append(msgspec.structs.replace(last, tool_calls=calls))

    def _result(self, item: Item, place: str) -> None:
        if not item.call_id:
            raise BadField(f"{place}.call_id", f"{place} needs a call_id")
        text, images = content(item.output, f"{place}.output")
        name = self._names.get(item.call_id, "")
        self._found.append(
            Message("tool", text, images=images, tool_name=name, tool_call_id=item.call_id)
        )


def _reasoning(item: Item) -> str:
    """Whatever form the text came in."""
    parts = item.content if isinstance(item.content, list) else ()
    for source in (parts, item.summary or ()):
        if text := "\n".join(part.text or "" for part in source):
            return text
    return item.encrypted_content or ""


def content(value: str | Sequence[ItemPart] | None, place: str) -> tuple[str, tuple[bytes, ...]]:
    """Text and pictures."""
    if value is None or isinstance(value, str):
        return value or "", ()
    texts: list[str] = []
    images: list[bytes] = []
    for at, part in enumerate(value):
        here = f"{place}[{at}]"
        if part.type in ("input_text", "output_text", "text") and part.text is not None:
            texts.append(part.text)
        elif part.type == "refusal" and part.refusal is not None:
            texts.append(part.refusal)
        elif part.type == "input_image" and part.image_url is not None:
            images.append(data_url(part.image_url, f"{here}.image_url"))
        else:
            raise UnsupportedField(f"{here}.type", f"no content part of type {part.type!r:.40}")
    return "\n".join(texts), tuple(images)
