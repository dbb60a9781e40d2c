"""Bodies that use much of what a dialect has, and every body that differs from one in one place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 9}, "n": {"enum": [1, None]}},
    "required": ["city"],
}
FUNCTION = {"name": "w", "description": "d", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "call_1", "type": "function", "function": {"name": "w", "arguments": '{"city":"x"}'}}
OPTIONS = {"num_ctx": 300, "stop": ["z"], "logit_bias": {"5": -1.0}, "seed": 1}

RICH: dict[str, dict[str, Any]] = {
    "/api/chat": {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "content": "",
                "thinking": "t",
                "tool_calls": [{"id": "1", "function": {"name": "w", "arguments": {"city": "x"}}}],
            },
            {"role": "tool", "content": "1", "tool_name": "w", "tool_call_id": "1"},
        ],
        "tools": [TOOL],
        "format": SCHEMA,
        "options": OPTIONS,
        "keep_alive": "5m",
        "think": "low",
        "stream": False,
    },
    "/api/generate": {
        "prompt": "x",
        "system": "s",
        "template": "{{ .System }} {{ .Prompt }}",
        "context": [1, 2],
        "format": "json",
        "options": OPTIONS,
        "stream": False,
    },
    "/v1/chat/completions": {
        "messages": [
            {"role": "developer", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        ],
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "w"}},
        "stop": ["z"],
        "logit_bias": {"5": -1},
        "reasoning": {"effort": "low"},
        "stream_options": {"include_usage": True},
        "options": OPTIONS,
        "logprobs": True,
        "top_logprobs": 2,
        "max_tokens": 9,
    },
    "/v1/completions": {
        "prompt": ["x", [1, 2]],
        "stop": ["z"],
        "logit_bias": {"5": -1},
        "options": OPTIONS,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "stream": True,
    },
    "/v1/responses": {
        "instructions": "s",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "t"}]},
            {"type": "function_call", "call_id": "1", "name": "w", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "1"},
        ],
        "tools": [{"type": "function", **FUNCTION}],
        "tool_choice": {"type": "function", "name": "w"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 9,
    },
    "/v1/messages": {
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": ""},
                    {"type": "tool_use", "id": "1", "name": "w", "input": {"city": "x"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "1",
                        "content": [{"type": "text", "text": "1"}],
                    }
                ],
            },
        ],
        "tools": [{"name": "w", "description": "d", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "w"},
        "thinking": {"type": "enabled", "budget_tokens": 9},
        "stop_sequences": ["z"],
        "max_tokens": 20,
    },
    "/api/embed": {"input": ["x", "y"], "options": OPTIONS, "keep_alive": 5, "dimensions": 4},
    "/v1/embeddings": {"input": [[1, 2], [3]], "options": OPTIONS, "dimensions": 4},
    "/v1/rerank": {"query": "x", "documents": [{"text": "y"}, "z"], "top_n": 1, "options": OPTIONS},
    "/api/tokenize": {"content": ["x", 5], "with_pieces": True},
}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys on the way to every part of ``value`` but itself."""
    if at:
        yield at
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """A copy of ``value`` with ``new`` in one place."""
    found = copy.deepcopy(value)
    inner = found
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = new
    return found
