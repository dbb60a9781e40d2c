"""A conversation in neutral words; every dialect is translated into these and back.

No wire details: pictures are bytes, tool arguments are objects, roles are lower case.
"""

from __future__ import annotations

from typing import Any

import msgspec


class ToolFunction(msgspec.Struct, frozen=True):
    """What a model wants called; ``arguments`` is a JSON object, its key order kept."""

    name: str
    arguments: dict[str, Any] = {}
    index: int = 0


class ToolCall(msgspec.Struct, frozen=True):
    """One call of an assistant message; ``id`` is "" where the dialect gave none."""

    function: ToolFunction
    id: str = ""


class Message(msgspec.Struct, frozen=True):
    """One turn.

    Attributes:
        role: "system", "user", "assistant", "tool" or whatever a template knows.
        thinking: the reasoning that came before ``content``.
        images: files as sent, pictures or sound.
        tool_name, tool_call_id: which call a "tool" message answers.
    """

    role: str
    content: str
    thinking: str = ""
    images: tuple[bytes, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""
