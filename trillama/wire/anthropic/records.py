"""Records of ``/v1/messages``: neutral events as blocks of a stream or as one message.

The hot path of this dialect's streams: a token costs one escaped string and one join. Blocks are
numbered without gaps and closed before the next begins. Prompt tokens that came from the prefix
cache are counted apart, as Anthropic does: all of the prompt is the sum of both.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from ...base.errors import TrillamaError
from ...base.events import StopReason, Usage
from ...base.messages import ToolCall
from ...base.turns import Chosen, Finished, TurnEvent, joined
from .. import sse
from ..gojson import encode, encode_text
from .errors import error_event

PING = sse.event(b"ping", b'{"type":"ping"}')
_STOP = sse.event(b"message_stop", b'{"type":"message_stop"}')
_EMPTY = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}}
_DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}


def usage_object(usage: Usage) -> dict[str, int]:
    """Counts; the prompt in three parts, of which nothing is ever written to a cache for money."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }


def stop_reason(end: Finished, called: bool) -> str:
    """Why an answer ended; ``called`` where it holds tool calls."""
    if end.reason is StopReason.LENGTH:
        return "max_tokens"
    if called:
        return "tool_use"
    return "stop_sequence" if end.stop else "end_turn"


def _tool_use(call: ToolCall) -> dict[str, Any]:
    id = call.id or f"toolu_{secrets.token_hex(12)}"  # noqa: A001
    return {
        "type": "tool_use",
        "id": id,
        "name": call.function.name,
        "input": call.function.arguments,
    }


class MessageRecords:
    """Writes one answer.

    Args:
        id: unique while the server lives, without the dialect's prefix.
        model: the name as the client sent it.
    """

    content_type = sse.CONTENT_TYPE

    def __init__(self, id: str, model: str) -> None:  # noqa: A002
        self.over = False
        self._id = id
        self._model = model
        self._prompt: Callable[[], Usage] = Usage
        self._begun = False
        self._called = False
        self._open = ""
        self._blocks = 0
        self._delta = b""

    def begun(self, usage: Callable[[], Usage]) -> None:
        """The engine has the prompt; ``usage`` counts it."""
        self._prompt = usage

    def write(self, events: Sequence[TurnEvent | Chosen]) -> bytes:
        """Events of the stream for events that came together."""
        return self._start() + b"".join([self._one(event) for event in events])

    def whole(self, answers: Sequence[Sequence[TurnEvent]]) -> bytes:
        """The message of an answer that is not streamed."""
        (events,) = answers
        said, end = joined(events)
        content: list[dict[str, Any]] = []
        if said.thinking:
            content.append({"type": "thinking", "thinking": said.thinking, "signature": ""})
        if said.content:
            content.append({"type": "text", "text": said.content})
        content += map(_tool_use, said.tool_calls)
        reason = stop_reason(end, bool(said.tool_calls))
        return encode(self._message(content, reason, end.stop, end.usage))

    def error(self, error: TrillamaError) -> bytes:
        """The event that ends a stream in trouble."""
        return error_event(error, f"req_{self._id}")

    def keep_alive(self) -> bytes:
        """What is sent while nothing is said; clients expect no event before the message's."""
        return PING if self._begun else sse.COMMENT

    def _start(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        message = self._message([], None, "", self._prompt())
        start = encode({"type": "message_start", "message": message})
        return sse.event(b"message_start", start) + PING

    def _message(
        self, content: list[dict[str, Any]], reason: str | None, stop: str, usage: Usage
    ) -> dict[str, Any]:
        return {
            "id": f"msg_{self._id}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": stop if reason == "stop_sequence" else None,
            "usage": usage_object(usage),
        }

    def _one(self, event: TurnEvent | Chosen) -> bytes:
        if isinstance(event, Chosen):
            event = event.event
        if isinstance(event, Finished):
            return self._finish(event)
        said = self._said("thinking", event.thinking) if event.thinking else b""
        if event.content:
            said += self._said("text", event.content)
        return said + b"".join([self._call(call) for call in event.tool_calls])

    def _said(self, kind: str, text: str) -> bytes:
        before = b""
        if self._open != kind:
            before = self._close() + self._begin({"type": kind, **_EMPTY[kind]})
            self._open = kind
            name, field = _DELTAS[kind]
            self._delta = (
                b'event: content_block_delta\ndata: {"type":"content_block_delta","index":'
                + b'%d,"delta":{"type":"%b","%b":'
                % (self._blocks - 1, name.encode(), field.encode())
            )
        return before + self._delta + encode_text(text) + b"}}\n\n"

    def _call(self, call: ToolCall) -> bytes:
        self._called = True
        block = _tool_use(call)
        said = self._close() + self._begin({**block, "input": {}})
        self._open = "tool_use"
        delta = {"type": "input_json_delta", "partial_json": encode(block["input"]).decode()}
        return said + self._changed(delta) + self._close()

    def _begin(self, block: dict[str, Any]) -> bytes:
        start = {"type": "content_block_start", "index": self._blocks, "content_block": block}
        self._blocks += 1
        return sse.event(b"content_block_start", encode(start))

    def _changed(self, delta: dict[str, Any]) -> bytes:
        change = {"type": "content_block_delta", "index": self._blocks - 1, "delta": delta}
        return sse.event(b"content_block_delta", encode(change))

    def _close(self) -> bytes:
        kind, self._open = self._open, ""
        if not kind:
            return b""
        signed = b""
        if kind == "thinking":
            signed = self._changed({"type": "signature_delta", "signature": ""})
        stop = {"type": "content_block_stop", "index": self._blocks - 1}
        return signed + sse.event(b"content_block_stop", encode(stop))

    def _finish(self, end: Finished) -> bytes:
        self.over = True
        reason = stop_reason(end, self._called)
        stop = end.stop if reason == "stop_sequence" else None
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": stop},
            "usage": usage_object(end.usage),
        }
        return self._close() + sse.event(b"message_delta", encode(delta)) + _STOP
