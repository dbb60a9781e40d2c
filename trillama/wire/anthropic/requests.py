"""``/v1/messages`` and ``/v1/messages/count_tokens``: the requests, and what they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...base.constraints import Constraint, ConstraintKind
from ...base.errors import BadField, UnsupportedField
from ...base.turns import ToolChoice, ToolMode, TurnRequest
from ..adapters import adapter_choices
from ..goshape import Refusals
from ..requests import RequestReader, refuse
from .blocks import AnthropicMessage, Block, conversation

_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}


class Thinking(msgspec.Struct, kw_only=True):
    """Whether to reason.

    Attributes:
        budget_tokens: has to leave room for an answer; not enforced otherwise.
    """

    type: str
    budget_tokens: int | None = None
    display: Any = None


class Format(msgspec.Struct, kw_only=True):
    """What the answer has to look like."""

    type: str
    schema: Any = None


class OutputConfig(msgspec.Struct, kw_only=True):
    """How much to think, and what the answer has to look like."""

    effort: str | None = None
    format: Format | None = None
    task_budget: Any = None


class Choice(msgspec.Struct, kw_only=True):
    """Whether, and which, tool has to be called."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Tool(msgspec.Struct, kw_only=True):
    """A tool that the client runs."""

    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    type: str | None = None
    strict: bool | None = None
    cache_control: Any = None
    eager_input_streaming: Any = None
    allowed_callers: Any = None
    defer_loading: Any = None
    input_examples: Any = None


class CountRequest(msgspec.Struct, kw_only=True):
    """Body of ``/v1/messages/count_tokens``, and the beginning of one of ``/v1/messages``."""

    model: str
    messages: list[AnthropicMessage]
    system: str | list[Block] | None = None
    thinking: Thinking | None = None
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    cache_control: Any = None
    betas: Any = None
    user_profile_id: Any = None
    workspace_id: Any = None
    context_management: Any = None
    mcp_servers: Any = None
    speed: Any = None


class MessagesRequest(CountRequest, kw_only=True):
    """Body of ``/v1/messages``; what follows ``top_k`` is trillama's own.

    Attributes:
        options: Ollama's options by name; a field of the request itself wins.
        adapter: LoRA adapters instead of the model's own.
    """

    max_tokens: int
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    options: dict[str, Any] | None = None
    adapter: Any = None
    metadata: dict[str, Any] | None = None
    service_tier: Any = None
    billing_policy: Any = None
    compaction: Any = None
    container: Any = None
    diagnostics: Any = None
    fallback_credit_token: Any = None
    fallbacks: Any = None
    inference_geo: Any = None
    thread: Any = None


LABELS = ("betas", "cache_control", "metadata", "user_profile_id", "workspace_id")
"""Marks for the sender's own book-keeping, and hints to a cache that needs none here."""

COUNT_REFUSED: Refusals = {
    "context_management": (
        {},
        {"edits": []},
        {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    ),
    "mcp_servers": ([],),
    "speed": ("standard",),
}
REFUSED: Refusals = {
    **COUNT_REFUSED,
    "billing_policy": (),
    "compaction": (),
    "container": (),
    "diagnostics": (),
    "fallback_credit_token": (),
    "fallbacks": ([],),
    "inference_geo": ("global",),
    "service_tier": ("auto", "standard_only"),
    "thread": (),
}
TOOL_REFUSED: Refusals = {
    "allowed_callers": (["direct"],),
    "defer_loading": (False,),
    "input_examples": ([],),
}
OUTPUT_REFUSED: Refusals = {"task_budget": ()}
THINKING_REFUSED: Refusals = {"display": ("summarized",)}

read_messages = RequestReader(MessagesRequest, REFUSED)
read_count = RequestReader(CountRequest, COUNT_REFUSED)


def count_turn(request: CountRequest) -> TurnRequest:
    """What would be asked, without what only shapes the answer.

    Raises:
        BadRequest: the request contradicts itself, or asks for what cannot be had.
    """
    if not request.model.strip():
        raise BadField("model", "model is required")
    for name, part, refused in (
        ("output_config", request.output_config, OUTPUT_REFUSED),
        ("thinking", request.thinking, THINKING_REFUSED),
    ):
        if part is not None:
            refuse(part, refused, f"{name}.")
    tools = _tools(request.tools or ())
    choice = request.tool_choice
    return TurnRequest(
        model=request.model,
        messages=conversation(request.system, request.messages),
        tools=tools,
        tool_choice=_tool_choice(choice, tools),
        parallel_tool_calls=not (choice and choice.disable_parallel_tool_use),
        constraint=_constraint(request),
        think=_think(request),
    )


def messages_turn(request: MessagesRequest) -> TurnRequest:
    """What is asked.

    Raises:
        BadRequest: as ``count_turn``; or there is no room for an answer.
    """
    if request.max_tokens <= 0:
        raise BadField("max_tokens", "max_tokens is required and must be positive")
    budget = request.thinking.budget_tokens if request.thinking else None
    if budget is not None and not 0 < budget < request.max_tokens:
        raise BadField(
            "thinking.budget_tokens", "thinking.budget_tokens must be positive and below max_tokens"
        )
    options = dict(request.options or {}) | {"num_predict": request.max_tokens}
    for name in ("temperature", "top_p", "top_k"):
        if (value := getattr(request, name)) is not None:
            options[name] = value
    if request.stop_sequences:
        options["stop"] = request.stop_sequences
    adapters = adapter_choices(request.adapter)
    return msgspec.structs.replace(count_turn(request), options=options, adapters=adapters)


def _tools(tools: Sequence[Tool]) -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = []
    for at, tool in enumerate(tools):
        place = f"tools[{at}]"
        if tool.type not in (None, "custom"):
            raise UnsupportedField(f"{place}.type", f"no tool of type {tool.type!r:.40}")
        refuse(tool, TOOL_REFUSED, f"{place}.")
        if not tool.name or any(one["function"]["name"] == tool.name for one in found):
            raise BadField(f"{place}.name", f"{place}.name must be given, and only once")
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        function["parameters"] = tool.input_schema or {"type": "object", "properties": {}}
        found.append({"type": "function", "function": function})
    return tuple(found)


def _tool_choice(choice: Choice | None, tools: tuple[dict[str, Any], ...]) -> ToolChoice:
    modes = {"auto": ToolMode.AUTO, "any": ToolMode.REQUIRED, "none": ToolMode.NONE}
    if choice is None:
        return ToolChoice()
    if choice.type == "tool":
        if choice.name not in [tool["function"]["name"] for tool in tools]:
            raise BadField("tool_choice.name", f"tool_choice names {choice.name!r:.80}, no tool")
        return ToolChoice(ToolMode.NAMED, choice.name or "")
    if choice.type not in modes:
        raise UnsupportedField("tool_choice.type", f"no tool_choice of type {choice.type!r:.40}")
    if choice.type == "any" and not tools:
        raise BadField("tool_choice", "tool_choice asks for a tool, but there are none")
    return ToolChoice(modes[choice.type])


def _think(request: CountRequest) -> bool | str | None:
    """``thinking`` decides; what it leaves open, the effort does."""
    kind = request.thinking.type if request.thinking else None
    if kind not in (None, "enabled", "disabled", "adaptive"):
        raise UnsupportedField("thinking.type", f"no thinking of type {kind!r:.40}")
    if kind in ("enabled", "disabled"):
        return kind == "enabled"
    effort = request.output_config.effort if request.output_config else None
    if effort is None:
        return None
    if effort.strip().lower() not in _EFFORTS:
        raise BadField("output_config.effort", f"no effort {effort!r:.40}")
    return _EFFORTS[effort.strip().lower()]


def _constraint(request: CountRequest) -> Constraint | None:
    newer = request.output_config.format if request.output_config else None
    wanted = newer or request.output_format
    if wanted is None:
        return None
    if wanted.type != "json_schema":
        raise UnsupportedField("output_config.format.type", f"no format {wanted.type!r:.40}")
    if not isinstance(wanted.schema, dict | bool):
        raise BadField("output_config.format.schema", "the schema must be a JSON Schema object")
    return Constraint(ConstraintKind.SCHEMA, msgspec.json.encode(wanted.schema).decode())
