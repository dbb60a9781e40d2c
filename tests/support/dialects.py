"""The same request in every dialect, and how each ends an answer."""

from __future__ import annotations

from typing import Any

from tests.support.house import Reply

SAID = [{"role": "user", "content": "x"}]
DIALECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/api/chat", {"messages": SAID}),
    "generate": ("/api/generate", {"prompt": "x"}),
    "openai chat": ("/v1/chat/completions", {"messages": SAID}),
    "openai choices": ("/v1/chat/completions", {"messages": SAID, "n": 3}),
    "openai completions": ("/v1/completions", {"prompt": "x"}),
    "openai responses": ("/v1/responses", {"input": "x"}),
    "anthropic": ("/v1/messages", {"messages": SAID, "max_tokens": 200}),
}
ENDS = ("[DONE]", "completed", "incomplete", "failed", "message_stop", "error")


def terminals(reply: Reply) -> int:
    """How many ends an answer has."""
    kind = reply.headers["content-type"]
    if kind.startswith("application/json"):
        document = reply.json()
        assert ("error" in document and document["error"] is not None) == (reply.status != 200)
        return 1
    if kind == "application/x-ndjson":
        return sum(bool(line.get("done")) or "error" in line for line in reply.lines())
    found = 0
    for event in reply.body.decode().split("\n\n"):
        name = event.partition("\n")[0].removeprefix("event: ").removeprefix("response.")
        unnamed = event.startswith(("data: [DONE]", 'data: {"error"'))
        found += unnamed or (event.startswith("event: ") and name in ENDS)
    return found
