"""What a client of each dialect hears, streamed or whole, in the same words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tests.support.house import Reply


class Heard(NamedTuple):
    """One answer; ``end`` is why it ended and what it cost, ids and times left out."""

    content: str
    thinking: str
    calls: list[tuple[str, Any]]
    end: Any


def documents(reply: Reply) -> list[Any]:
    """The JSON of a whole answer, of lines, or of events."""
    if reply.headers["content-type"] != "text/event-stream":
        return reply.lines()
    lines = [line for line in reply.body.decode().splitlines() if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def _joined(parts: Iterable[Any], *names: str) -> str:
    return "".join(part.get(name) or "" for part in parts for name in names)


def native(found: list[Any]) -> list[Heard]:
    """Of ``/api/chat`` and ``/api/generate``."""
    said = [one.get("message", one) for one in found]
    calls = [call["function"] for one in said for call in one.get("tool_calls", ())]
    counts = ("done", "done_reason", "context", "prompt_eval_count", "eval_count")
    return [
        Heard(
            _joined(said, "content", "response"),
            _joined(said, "thinking"),
            [(call["name"], call["arguments"]) for call in calls],
            {name: found[-1].get(name) for name in counts},
        )
    ]


def choices(found: list[Any]) -> list[Heard]:
    """Of chat completions and completions, every choice by itself."""
    usage = found[-1]["usage"]
    made = [choice for one in found for choice in one["choices"]]
    heard = []
    for index in range(1 + max(choice["index"] for choice in made)):
        mine = [choice for choice in made if choice["index"] == index]
        said = [choice.get("message") or choice.get("delta") or choice for choice in mine]
        calls = [call["function"] for one in said for call in one.get("tool_calls", ())]
        reasons = [choice["finish_reason"] for choice in mine if choice["finish_reason"]]
        heard.append(
            Heard(
                _joined(said, "content", "text"),
                _joined(said, "reasoning"),
                [(call["name"], json.loads(call["arguments"])) for call in calls],
                (reasons, usage),
            )
        )
    return heard


def response(found: list[Any]) -> list[Heard]:
    """Of responses; the last event holds all that was said."""
    last = found[-1].get("response", found[-1])
    parts: dict[str, list[Any]] = {"message": [], "reasoning": []}
    calls = []
    for item in last["output"]:
        if item["type"] == "function_call":
            calls.append((item["name"], json.loads(item["arguments"])))
        else:
            parts[item["type"]] += item.get("content") or item["summary"]
    end = {name: last[name] for name in ("status", "incomplete_details", "usage")}
    return [
        Heard(_joined(parts["message"], "text"), _joined(parts["reasoning"], "text"), calls, end)
    ]


def message(found: list[Any]) -> list[Heard]:
    """Of messages."""
    if len(found) > 1:
        found = [_rebuilt(found)]
    (whole,) = found
    blocks = whole["content"]
    return [
        Heard(
            _joined([block for block in blocks if block["type"] == "text"], "text"),
            _joined(blocks, "thinking"),
            [(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
            {name: whole[name] for name in ("stop_reason", "stop_sequence", "usage")},
        )
    ]


def _rebuilt(events: list[Any]) -> Any:
    """A message out of its events."""
    blocks: list[Any] = []
    end: dict[str, Any] = {}
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append(dict(event["content_block"]))
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            if delta["type"] == "input_json_delta":
                blocks[-1]["input"] = json.loads(delta["partial_json"])
            for name in ("text", "thinking"):
                if name in delta:
                    blocks[-1][name] += delta[name]
        elif event["type"] == "message_delta":
            end = event["delta"] | {"usage": event["usage"]}
    return {"content": blocks, **end}


READERS: dict[str, Callable[[list[Any]], list[Heard]]] = {
    "chat": native,
    "generate": native,
    "openai chat": choices,
    "openai choices": choices,
    "openai completions": choices,
    "openai responses": response,
    "anthropic": message,
}
"""By the dialect's name in ``dialects``."""
