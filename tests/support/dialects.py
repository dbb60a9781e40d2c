"""The same request in every dialect, and how each ends an answer; requests of other kinds."""

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
WHOLE: dict[str, dict[str, Any]] = {
    "/api/embed": {"model": "m", "input": ["x", "y"]},
    "/api/embeddings": {"model": "m", "prompt": "x"},
    "/v1/embeddings": {"model": "m", "input": [[1, 2], [3]]},
    "/v1/rerank": {"model": "ranker", "query": "x", "documents": ["y", "z"]},
    "/api/tokenize": {"model": "m", "messages": SAID},
    "/tokenize": {"model": "m", "content": "x"},
    "/api/detokenize": {"model": "m", "tokens": [97]},
    "/apply-template": {"model": "m", "messages": SAID},
    "/v1/responses/input_tokens": {"model": "m", "input": "x"},
    "/v1/messages/count_tokens": {"model": "m", "messages": SAID},
}
"""Requests whose answers are never streamed."""
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
