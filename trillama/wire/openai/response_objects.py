"""The object of ``/v1/responses``: what was asked, as it was understood, and the counts."""

from __future__ import annotations

from typing import Any

import msgspec

from ...base.turns import Finished
from .records import Heading
from .responses import ResponsesRequest


def usage_object(end: Finished) -> dict[str, Any]:
    """Counts."""
    usage = end.usage
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": end.thinking_tokens},
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }


def response_object(heading: Heading, request: ResponsesRequest) -> dict[str, Any]:
    """A response that has just begun; every key is there from the start."""
    reasoning = request.reasoning
    return {
        "id": f"resp_{heading.id}",
        "object": "response",
        "created_at": heading.created,
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions or None,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": None,
        "model": heading.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {
            "effort": reasoning.effort if reasoning else None,
            "summary": reasoning.summary if reasoning else None,
        },
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": request.store is not False,
        "temperature": request.temperature,
        "text": {"format": _format(request)},
        "tool_choice": request.tool_choice or "auto",
        "tools": request.tools or [],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": request.truncation or ("auto" if request.truncate else "disabled"),
        "usage": None,
        "user": request.user,
        "metadata": request.metadata or {},
    }


def _format(request: ResponsesRequest) -> Any:
    wanted = request.text.format if request.text else None
    if wanted is None:
        return {"type": "text"}
    shown = msgspec.to_builtins(wanted)
    return {name: value for name, value in shown.items() if value is not None}
