"""How one template wants its messages, found by trying it out once.

Templates agree on little: arguments of earlier calls as objects or as JSON text, no content beside
a call or an empty one, content as text or as a list of parts, a system role or none, ids of a
certain form. Each question is put to the template with a conversation whose words can be found
again in the text; the first manner that shows them all is kept.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from trillama.base.errors import TrillamaError
from trillama.base.messages import Message, ToolCall, ToolFunction

from .jinja import render_template

_WORDS = ("probe0system", "probe1user", "probe2value", "probe3result")
_SYSTEM, _USER, _VALUE, _RESULT = _WORDS
_TOOL = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "A tool.",
        "parameters": {
            "type": "object",
            "properties": {"probe_key": {"type": "string", "description": "A value."}},
            "required": ["probe_key"],
        },
    },
}
_CALL = ToolCall(ToolFunction("probe_tool", {"probe_key": _VALUE}), "abcdefgh0")
_CALLED = (
    Message("user", _USER),
    Message("assistant", "", tool_calls=(_CALL,)),
    Message("tool", _RESULT, tool_name="probe_tool", tool_call_id="abcdefgh0"),
)


class Manner(msgspec.Struct, frozen=True):
    """How a template wants its messages.

    Attributes:
        parts: content as a list of parts.
        merged_system: the system text goes in front of the next message.
        arguments_as_text: of calls, as JSON text.
        null_content: beside calls, in place of "".
        works: the template shows a message at all.
    """

    parts: bool = False
    merged_system: bool = False
    arguments_as_text: bool = False
    null_content: bool = False
    works: bool = True


def as_told(message: Message, manner: Manner) -> dict[str, Any]:
    """A message as chat templates expect it; what is empty is left out, but for the content."""
    content: Any = message.content
    if not content and message.tool_calls and manner.null_content:
        content = None
    elif manner.parts:
        content = [{"type": "text", "text": content}]
    optional = {
        "reasoning_content": message.thinking,
        "thinking": message.thinking,
        "tool_calls": [_call(call, manner) for call in message.tool_calls],
        "name": message.tool_name,
        "tool_call_id": message.tool_call_id,
    }
    told = {"role": message.role, "content": content}
    return told | {key: value for key, value in optional.items() if value}


def _call(call: ToolCall, manner: Manner) -> dict[str, Any]:
    arguments: Any = call.function.arguments
    if manner.arguments_as_text:
        arguments = json.dumps(arguments, ensure_ascii=False)
    function = {"name": call.function.name, "arguments": arguments}
    return {"type": "function", "function": function} | ({"id": call.id} if call.id else {})


def conversation(
    messages: Sequence[Message], manner: Manner, id_of: Callable[[int, ToolCall], str]
) -> list[dict[str, Any]]:
    """The messages as a template of this manner is told them."""
    told = merged(messages) if manner.merged_system else messages
    return [as_told(message, manner) for message in paired(told, id_of)]


def merged(messages: Iterable[Message]) -> list[Message]:
    """System texts in front of the messages that follow them."""
    found: list[Message] = []
    waiting = ""
    for message in messages:
        if message.role == "system":
            waiting += message.content + "\n\n"
        elif message.role == "user":
            found.append(msgspec.structs.replace(message, content=waiting + message.content))
            waiting = ""
        else:
            found.append(message)
    return [*found, Message("user", waiting.strip())] if waiting else found


def paired(messages: Iterable[Message], id_of: Callable[[int, ToolCall], str]) -> list[Message]:
    """Calls with ids, and results with the ids and names of the calls they answer.

    A result belongs to the call whose id it bears, else to the first one of its name that has no
    result yet, else to the first one.
    """
    found: list[Message] = []
    open_calls: list[tuple[str, ToolCall]] = []
    count = 0
    for message in messages:
        if message.tool_calls:
            made = [ToolCall(one.function, id_of(count + n, one)) for n, one in
                    enumerate(message.tool_calls)]  # fmt: skip
            count += len(made)
            olds = [one.id for one in message.tool_calls]
            open_calls = list(zip(olds, made, strict=True))
            found.append(msgspec.structs.replace(message, tool_calls=tuple(made)))
        elif message.role == "tool" and open_calls:
            found.append(_answer(message, open_calls))
        else:
            found.append(message)
    return found


def _answer(message: Message, open_calls: list[tuple[str, ToolCall]]) -> Message:
    def fits(old: str, call: ToolCall) -> tuple[bool, bool]:
        same_id = bool(message.tool_call_id) and message.tool_call_id == old
        return same_id, not message.tool_call_id and message.tool_name == call.function.name

    best = max(open_calls, key=lambda one: fits(*one))
    if message.tool_call_id and not fits(*best)[0]:
        return message
    open_calls.remove(best)
    name = message.tool_name or best[1].function.name
    return msgspec.structs.replace(message, tool_call_id=best[1].id, tool_name=name)


@functools.lru_cache(maxsize=64)
def manner_of(source: str, bos: str, eos: str) -> Manner:
    """The manner of a template; the usual one where it shows nothing under any."""

    def shows(manner: Manner, messages: Sequence[Message], *words: str, tools: bool) -> bool:
        variables = {
            "messages": [as_told(one, manner) for one in messages],
            "tools": [_TOOL] if tools else None,
            "bos_token": bos,
            "eos_token": eos,
            "add_generation_prompt": True,
        }
        try:
            text = render_template(source, variables)
        except TrillamaError:
            return False
        return all(word in text for word in words) and "'probe_key'" not in text

    user = (Message("user", _USER),)
    plain = shows(Manner(), user, _USER, tools=False)
    parts = not plain and shows(Manner(parts=True), user, _USER, tools=False)
    works = plain or parts or shows(Manner(), user, _USER, tools=True)
    led = (Message("system", _SYSTEM), *user)
    merges = (plain or parts) and not shows(Manner(parts), led, _SYSTEM, tools=False)
    for as_text, null in ((False, False), (False, True), (True, False), (True, True)):
        manner = Manner(parts, merges, as_text, null, works)
        if shows(manner, _CALLED, _VALUE, tools=True):
            return manner
    return Manner(parts, merges, works=works)
