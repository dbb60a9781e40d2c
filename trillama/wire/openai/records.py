"""What the records of chat and plain completions have in common.

A request has one or more choices, each written by a ``Choice``; after the end of the last one come
the counts, if they are asked for, and the mark of a good end.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...base.errors import TrillamaError
from ...base.events import StopReason, Usage
from ...base.messages import ToolCall
from ...base.turns import Chosen, Finished, Piece, TurnEvent
from .. import sse
from ..gojson import encode
from .errors import error_event

_DONE = sse.data(b"[DONE]")

FINGERPRINT = "fp_trillama"


@dataclass(frozen=True, slots=True)
class Heading:
    """What every record of one answer says of it.

    Attributes:
        id: unique while the server lives, without the dialect's prefix.
        model: the name as the client sent it.
        created: seconds since 1970.
    """

    id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))


def usage_object(ends: Iterable[Finished], per_prompt: int = 1) -> dict[str, Any]:
    """Counts of all answers to one request; a prompt that has several answers counts once."""
    found = list(ends)
    prompts = [end.usage for end in found[::per_prompt]]
    prompt = sum(usage.prompt_tokens for usage in prompts)
    answer = sum(end.usage.output_tokens for end in found)
    thinking = sum(end.thinking_tokens for end in found)
    accepted = sum(end.usage.accepted_tokens for end in found)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": sum(usage.cached_tokens for usage in prompts)},
        "completion_tokens_details": {
            "reasoning_tokens": thinking,
            "accepted_prediction_tokens": accepted,
            "rejected_prediction_tokens": sum(end.usage.drafted_tokens for end in found) - accepted,
        },
    }


def finish_reason(end: Finished, called: bool) -> str:
    """Why an answer ended; ``called`` where it holds tool calls."""
    if end.reason is StopReason.LENGTH:
        return "length"
    return "tool_calls" if called else "stop"


def call_objects(calls: Sequence[ToolCall], first: int) -> list[dict[str, Any]]:
    """Calls with arguments as strings; a call without an id gets one.

    Args:
        first: how many calls of the same answer came before.
    """
    return [
        {
            "id": call.id or f"call_{secrets.token_hex(4)}",
            "index": at,
            "type": "function",
            "function": {
                "name": call.function.name,
                "arguments": encode(call.function.arguments).decode(),
            },
        }
        for at, call in enumerate(calls, first)
    ]


class Choice(Protocol):
    """Writes the chunks of one answer."""

    end: Finished | None

    def piece(self, piece: Piece) -> bytes:
        """More of the answer."""
        ...

    def finish(self, end: Finished) -> bytes:
        """Its end, which is kept in ``end``."""
        ...


class ChoiceRecords:
    """Writes the answers to one request; with one choice events come as they are, else ``Chosen``.

    Args:
        fields: of every object, whole or chunk, but for its name.
        per_prompt: choices that answer the same prompt, neighbours all.
        includes_usage: a stream ends with its counts.
    """

    content_type = sse.CONTENT_TYPE

    def __init__(
        self, fields: dict[str, Any], chunk: str, per_prompt: int, *, includes_usage: bool
    ) -> None:
        self.over = False
        self._fields = fields
        self._per_prompt = per_prompt
        self._includes_usage = includes_usage
        self._opening = b"data: " + encode(self._object(chunk))[:-1] + b',"choices":['
        self._choices: Sequence[Choice] = ()

    def begun(self, usage: Callable[[], Usage]) -> None:
        """The counts come last here."""

    def write(self, events: Sequence[TurnEvent | Chosen]) -> bytes:
        """Chunks for events that came together."""
        return b"".join([self._one(event) for event in events])

    def error(self, error: TrillamaError) -> bytes:
        """The event that ends a stream in trouble."""
        return error_event(error)

    def keep_alive(self) -> bytes:
        """What is sent while nothing is said."""
        return sse.COMMENT

    def _object(self, kind: str) -> dict[str, Any]:
        return {"id": self._fields["id"], "object": kind, **self._fields}

    def _whole(
        self, kind: str, choices: Sequence[dict[str, Any]], ends: Iterable[Finished]
    ) -> bytes:
        usage = usage_object(ends, self._per_prompt)
        return encode({**self._object(kind), "choices": choices, "usage": usage})

    def _one(self, event: TurnEvent | Chosen) -> bytes:
        if isinstance(event, Piece):
            return self._choices[0].piece(event)
        if isinstance(event, Finished):
            return self._choices[0].finish(event) + self._ending()
        choice = self._choices[event.index]
        if isinstance(event.event, Piece):
            return choice.piece(event.event)
        return choice.finish(event.event) + self._ending()

    def _ending(self) -> bytes:
        """What follows the last choice's end."""
        ends = [choice.end for choice in self._choices if choice.end is not None]
        self.over = len(ends) == len(self._choices)
        if not self.over:
            return b""
        if not self._includes_usage:
            return _DONE
        usage = encode(usage_object(ends, self._per_prompt))
        return self._opening + b'],"usage":' + usage + b"}\n\n" + _DONE


def common_fields(heading: Heading, prefix: str) -> dict[str, Any]:
    """What stands in every object of an answer."""
    return {
        "id": f"{prefix}-{heading.id}",
        "created": heading.created,
        "model": heading.model,
        "system_fingerprint": FINGERPRINT,
    }
