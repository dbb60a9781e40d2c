"""``/v1/responses``: the request, and what it asks in neutral words."""

from __future__ import annotations

from typing import Any

import msgspec

from ...base.constraints import Constraint, ConstraintKind
from ...base.errors import BadField, UnsupportedField
from ...base.messages import Message
from ...base.turns import TurnRequest
from ..adapters import adapter_choices
from ..goshape import Refusals
from ..requests import RequestReader, refuse
from ..tools import completed
from .chat import MAX_TOP_LOGPROBS, STREAM_REFUSED, tool_choice
from .items import Item, conversation
from .messages import check_function
from .sampling import (
    Extras,
    StreamOptions,
    grammar_constraint,
    keep_alive_of,
    options_of,
    schema_constraint,
    think_of,
)

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
_INCLUDABLE = (LOGPROBS, ENCRYPTED)


class ResponseReasoning(msgspec.Struct, kw_only=True):
    """How much to think; reasoning is always told as it is, so a wish for a summary is met."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: Any = None


class TextFormat(msgspec.Struct, kw_only=True):
    """What the answer has to look like; its labels are told again in the response."""

    type: str
    name: str | None = None
    description: str | None = None
    schema: Any = None
    strict: bool | None = None


class TextConfig(msgspec.Struct, kw_only=True):
    """How text is told."""

    format: TextFormat | None = None
    verbosity: Any = None


class ResponsesRequest(Extras, kw_only=True):
    """Body of ``/v1/responses``; ``seed`` and ``stop`` are extras like those of ``Extras``.

    Attributes:
        store: the response can be asked for, and gone on with, by its id; true unless said.
    """

    model: str
    input: str | list[Item] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    max_output_tokens: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    reasoning: ResponseReasoning | None = None
    text: TextConfig | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    top_logprobs: int | None = None
    include: list[str] | None = None
    truncation: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: Any = None
    background: Any = None
    context_management: Any = None
    conversation: Any = None
    max_tool_calls: Any = None
    moderation: Any = None
    prompt: Any = None
    service_tier: Any = None


LABELS = (
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
)
REFUSED: Refusals = {
    "background": (False,),
    "context_management": ([],),
    "conversation": (),
    "max_tool_calls": (),
    "moderation": (),
    "prompt": (),
    "service_tier": ("auto", "default"),
}
TEXT_REFUSED: Refusals = {"verbosity": ("medium",)}
REASONING_REFUSED: Refusals = {"context": ("auto",)}

read_response = RequestReader(ResponsesRequest, REFUSED)


def response_turn(request: ResponsesRequest, before: tuple[Message, ...] = ()) -> TurnRequest:
    """What is asked.

    Args:
        before: what was said in the responses this one goes on with, without their instructions.

    Raises:
        BadRequest: the request contradicts itself, or asks for what cannot be had.
    """
    if not request.model.strip():
        raise BadField("model", "model is required")
    _refuse_deeper(request)
    tools = _tools(request.tools or [])
    messages = conversation(request.input, before)
    if request.instructions:
        messages = (Message("system", request.instructions), *messages)
    wanted = request.text.format if request.text else None
    return TurnRequest(
        model=request.model,
        messages=messages,
        tools=tools,
        tool_choice=tool_choice(request.tool_choice, tools),
        parallel_tool_calls=request.parallel_tool_calls is not False,
        constraint=grammar_constraint(request.grammar, _constraint(wanted)),
        logprobs=_logprobs(request),
        options=options_of(request, request.max_output_tokens),
        think=think_of(request.reasoning.effort if request.reasoning else None),
        keep_alive=keep_alive_of(request),
        adapters=adapter_choices(request.adapter),
        truncate=_truncate(request),
    )


def _refuse_deeper(request: ResponsesRequest) -> None:
    for name, part, refused in (
        ("stream_options", request.stream_options, STREAM_REFUSED),
        ("text", request.text, TEXT_REFUSED),
        ("reasoning", request.reasoning, REASONING_REFUSED),
    ):
        if part is not None:
            refuse(part, refused, f"{name}.")
    for at, name in enumerate(request.include or ()):
        if name not in _INCLUDABLE:
            raise UnsupportedField(f"include[{at}]", f"cannot include {name!r:.60}")


def _truncate(request: ResponsesRequest) -> bool | None:
    if request.truncation is None:
        return request.truncate
    if request.truncation not in ("auto", "disabled"):
        raise BadField("truncation", 'truncation must be "auto" or "disabled"')
    return request.truncation == "auto"


def _tools(tools: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Definitions with the function inside, as every other dialect has it."""
    found: list[dict[str, Any]] = []
    for at, tool in enumerate(tools):
        kind = tool.get("type")
        if kind != "function":
            raise UnsupportedField(f"tools[{at}].type", f"no tool of type {kind!r:.40}")
        check_function(tool, f"tools[{at}]")
        if any(one["function"]["name"] == tool["name"] for one in found):
            raise BadField(f"tools[{at}].name", f"two tools have the name {tool['name']!r:.80}")
        names = ("name", "description", "parameters")
        function = {name: tool[name] for name in names if name in tool}
        found.append(completed({"function": function}))
    return tuple(found)


def _constraint(wanted: TextFormat | None) -> Constraint | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_schema":
        return schema_constraint(wanted.schema, "text.format.schema")
    if wanted.type == "json_object":
        return Constraint(ConstraintKind.JSON)
    raise UnsupportedField("text.format.type", f"no format of type {wanted.type!r:.40}")


def _logprobs(request: ResponsesRequest) -> int | None:
    top = request.top_logprobs
    if top is not None and not 0 <= top <= MAX_TOP_LOGPROBS:
        raise BadField("top_logprobs", f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    if top or LOGPROBS in (request.include or ()):
        return top or 0
    return None
