"""``/v1/chat/completions``: the request, and what it asks in neutral words."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ...base.constraints import Constraint, ConstraintKind
from ...base.errors import BadField, UnsupportedField
from ...base.turns import ToolChoice, ToolMode, TurnRequest
from ..adapters import adapter_choices
from ..goshape import Refusals
from ..requests import RequestReader, refuse
from .messages import ChatMessage, Part, content, conversation, tool_definitions
from .sampling import (
    Sampling,
    choices_of,
    grammar_constraint,
    keep_alive_of,
    options_of,
    schema_constraint,
    think_of,
)

MAX_TOP_LOGPROBS = 20


class Reasoning(msgspec.Struct, kw_only=True):
    """How much to think, in the newer form."""

    effort: str | None = None


class NamedSchema(msgspec.Struct, kw_only=True):
    """A schema with its labels; it is enforced whether or not ``strict`` says so."""

    schema: Any = None


class ResponseFormat(msgspec.Struct, kw_only=True):
    """What the answer has to look like."""

    type: str
    json_schema: NamedSchema | None = None
    schema: Any = None


class Prediction(msgspec.Struct, kw_only=True):
    """Text that the answer is expected to repeat; it is sooner there as far as it does."""

    type: Literal["content"]
    content: str | list[Part]


class ChatRequest(Sampling, kw_only=True):
    """Body of ``/v1/chat/completions``; extras of ``Sampling`` are trillama's own."""

    model: str
    messages: list[ChatMessage]
    max_completion_tokens: int | None = None
    reasoning: Reasoning | None = None
    reasoning_effort: str | None = None
    response_format: ResponseFormat | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    metadata: dict[str, Any] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: Any = None
    audio: Any = None
    function_call: Any = None
    functions: Any = None
    modalities: Any = None
    moderation: Any = None
    prediction: Prediction | None = None
    service_tier: Any = None
    store: Any = None
    verbosity: Any = None
    web_search_options: Any = None
    chat_template_kwargs: Any = None


LABELS = (
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
)
"""Marks for the sender's own book-keeping and hints to a cache that needs none here: by OpenAI's
own definition they change no answer, so there is nothing to refuse."""

REFUSED: Refusals = {
    "audio": (),
    "function_call": ("none",),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "verbosity": ("medium",),
    "web_search_options": (),
    "chat_template_kwargs": ({},),
}

STREAM_REFUSED: Refusals = {"include_obfuscation": (False,)}

read_chat = RequestReader(ChatRequest, REFUSED)


def chat_turns(request: ChatRequest) -> list[TurnRequest]:
    """One neutral request for each answer that is wanted.

    Raises:
        BadRequest: the request contradicts itself, or asks for what cannot be had.
    """
    if not request.model.strip():
        raise BadField("model", "model is required")
    if request.stream_options:
        refuse(request.stream_options, STREAM_REFUSED, "stream_options.")
    tools = tool_definitions(request.tools or (), "tools")
    newer = request.max_completion_tokens
    limit = request.max_tokens if newer is None else newer
    turn = TurnRequest(
        model=request.model,
        messages=conversation(request.messages),
        tools=tools,
        tool_choice=tool_choice(request.tool_choice, tools),
        parallel_tool_calls=request.parallel_tool_calls is not False,
        constraint=grammar_constraint(request.grammar, _constraint(request.response_format)),
        logprobs=_logprobs(request),
        prediction=_predicted(request.prediction),
        options=options_of(request, limit),
        think=think_of(_effort(request)),
        keep_alive=keep_alive_of(request),
        adapters=adapter_choices(request.adapter),
        truncate=request.truncate,
    )
    return several(turn, choices_of(request))


def _predicted(prediction: Prediction | None) -> str:
    """The text that is expected, all of its parts together."""
    if prediction is None:
        return ""
    text, images = content(prediction.content, "prediction.content")
    if images:
        raise BadField("prediction.content", "a prediction is text")
    return text


def several(turn: TurnRequest, count: int) -> list[TurnRequest]:
    """``turn`` so many times; a seed counts up, for equal seeds would give equal answers."""
    seed = turn.options.get("seed")
    if count == 1 or not isinstance(seed, int) or seed < 0:
        return [turn] * count
    seeded = [turn.options | {"seed": seed + number} for number in range(count)]
    return [msgspec.structs.replace(turn, options=options) for options in seeded]


def tool_choice(
    value: str | dict[str, Any] | None, tools: tuple[dict[str, Any], ...]
) -> ToolChoice:
    """Which tool has to be called, checked against those there are."""
    if value is None:
        return ToolChoice()
    if isinstance(value, str):
        if value not in ("auto", "none", "required"):
            raise BadField("tool_choice", f"invalid tool_choice: {value!r:.80}")
        if value == "required" and not tools:
            raise BadField("tool_choice", "tool_choice is required, but there are no tools")
        return ToolChoice(ToolMode(value))
    kind = value.get("type")
    if kind != "function":
        raise UnsupportedField("tool_choice.type", f"no tool_choice of type {kind!r:.80}")
    function = value.get("function", value)  # the Responses API has the name beside the type
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise BadField("tool_choice.function.name", "tool_choice names no function")
    if name not in [tool["function"]["name"] for tool in tools]:
        raise BadField("tool_choice", f"tool_choice names {name!r:.80}, which is no tool")
    return ToolChoice(ToolMode.NAMED, name)


def _effort(request: ChatRequest) -> str | None:
    return request.reasoning.effort if request.reasoning else request.reasoning_effort


def _constraint(wanted: ResponseFormat | None) -> Constraint | None:
    kind = wanted.type.strip().lower() if wanted else "text"
    if wanted is None or kind == "text":
        return None
    if kind == "json_schema":
        schema = wanted.json_schema.schema if wanted.json_schema else None
        return schema_constraint(schema, "response_format.json_schema.schema")
    if kind == "json_object":
        if wanted.schema is not None:
            return schema_constraint(wanted.schema, "response_format.schema")
        return Constraint(ConstraintKind.JSON)
    raise UnsupportedField("response_format.type", f"no response format of type {kind!r:.40}")


def _logprobs(request: ChatRequest) -> int | None:
    top = request.top_logprobs
    if top is not None and not 0 <= top <= MAX_TOP_LOGPROBS:
        raise BadField("top_logprobs", f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    if request.logprobs:
        return top or 0
    if top:
        raise BadField("top_logprobs", "top_logprobs needs logprobs to be true")
    return None
