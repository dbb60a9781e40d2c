"""What records of this dialect have in common: who answers, counts, and why an answer ended."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...base.events import StopReason
from ...base.messages import ToolCall
from ...base.turns import Finished
from ..gojson import encode

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
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": sum(usage.cached_tokens for usage in prompts)},
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
