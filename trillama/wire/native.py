"""The native dialect: ``/api/generate`` and ``/api/chat`` as Ollama's clients speak it.

``read_generate`` and ``read_chat`` turn a body into a typed request, ``generate_turn`` and
``chat_turn`` turn that into neutral words; ``records`` writes what comes back. Field names and
the texts of errors are Ollama's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..base.adapters import AdapterChoice
from ..base.errors import BadRequest, NotFound, Unsupported
from ..base.messages import Message, ToolCall, ToolFunction
from ..base.turns import ToolChoice, TurnRequest
from . import gojson, goshape
from .adapters import adapter
from .formats import constraint
from .goshape import Place
from .tools import tool_choice, tools

THINK_LEVELS = ("high", "medium", "low", "max")
_THINK_WORDS = '"high", "medium", "low", "max", true, or false'
MAX_TOP_LOGPROBS = 20


class _Common(msgspec.Struct, kw_only=True):
    model: str = ""
    stream: bool = True
    format: Any = None
    keep_alive: int | None = None
    adapter: tuple[AdapterChoice, ...] | None = None
    options: dict[str, Any] = {}
    think: bool | str | None = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    debug_render_only: bool = False


class GenerateRequest(_Common, kw_only=True):
    """Body of ``/api/generate``; ``context`` is None when absent, which ``[]`` is not."""

    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    context: list[int] | None = None
    raw: bool = False
    images: list[bytes] = []


class ChatRequest(_Common, kw_only=True):
    """Body of ``/api/chat``."""

    messages: list[Message] = []
    tools: list[dict[str, Any]] = []
    tool_choice: ToolChoice = ToolChoice()


@goshape.described(type=["boolean", "string"])
def _think(value: Any, place: Place) -> bool | str:
    if isinstance(value, bool) or value in THINK_LEVELS:
        return value  # type: ignore[no-any-return]
    if isinstance(value, str):
        raise BadRequest(f'invalid think value: "{value}" (must be {_THINK_WORDS})')
    words = _THINK_WORDS.replace(", true, or false", "")
    raise BadRequest(f"think must be a boolean or string ({words}, true, or false)")


@goshape.described(anyOf=[{"enum": ["", "json"]}, {"type": "object"}])
def _format(value: Any, place: Place) -> Any:
    """Looked at with the rules that could stand beside it."""
    return value


@goshape.described(type="object")
def _arguments(value: Any, place: Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest("Value looks like object, but can't find closing '}' symbol")
    return value


def _tool_call(function: ToolFunction | None = None, id: str = "") -> ToolCall:  # noqa: A002
    return ToolCall(function=function or ToolFunction(name=""), id=id)


def _message(**found: Any) -> Message:
    for name in ("images", "tool_calls"):
        found[name] = tuple(found.get(name, ()))
    found["role"] = found.get("role", "").lower()
    return Message(**{"content": "", **found})


_FUNCTION: goshape.Table = {
    "index": goshape.integer,
    "name": goshape.string,
    "arguments": _arguments,
}
_TOOL_CALL: goshape.Table = {
    "id": goshape.string,
    "function": goshape.struct_of(
        _FUNCTION, "api.ToolCallFunction", lambda **found: ToolFunction(**{"name": "", **found})
    ),
}
_MESSAGE: goshape.Table = {
    "role": goshape.string,
    "content": goshape.string,
    "thinking": goshape.string,
    "images": goshape.list_of(goshape.picture, "[]api.ImageData"),
    "tool_calls": goshape.list_of(
        goshape.struct_of(_TOOL_CALL, "api.ToolCall", _tool_call), "[]api.ToolCall"
    ),
    "tool_name": goshape.string,
    "tool_call_id": goshape.string,
}
_COMMON: goshape.Table = {
    "model": goshape.string,
    "stream": goshape.boolean,
    "format": _format,
    "keep_alive": goshape.keep_alive,
    "adapter": adapter,
    "options": goshape.mapping,
    "think": _think,
    "truncate": goshape.boolean,
    "shift": goshape.boolean,
    "logprobs": goshape.boolean,
    "top_logprobs": goshape.integer,
    "_debug_render_only": goshape.boolean,
}
MESSAGE = goshape.struct_of(_MESSAGE, "api.Alias", _message)
"""Reads one message of a conversation."""

_GENERATE: goshape.Table = {
    **_COMMON,
    "prompt": goshape.string,
    "suffix": goshape.string,
    "system": goshape.string,
    "template": goshape.string,
    "context": goshape.list_of(goshape.integer, "[]int"),
    "raw": goshape.boolean,
    "images": goshape.list_of(goshape.picture, "[]api.ImageData"),
}
_CHAT: goshape.Table = {
    **_COMMON,
    "messages": goshape.list_of(MESSAGE, "[]api.Message"),
    "tools": tools,
    "tool_choice": tool_choice,
}


def _read(body: bytes, table: goshape.Table, go_name: str) -> dict[str, Any]:
    found = goshape.body(gojson.decode(body), table, go_name)
    if "_debug_render_only" in found:
        found["debug_render_only"] = found.pop("_debug_render_only")
    if not 0 <= found.get("top_logprobs", 0) <= MAX_TOP_LOGPROBS:
        raise BadRequest(f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    return found


def read_generate(body: bytes) -> GenerateRequest:
    """Decode a body of ``/api/generate``.

    Raises:
        BadRequest: with Ollama's text.
    """
    return GenerateRequest(**_read(body, _GENERATE, "GenerateRequest"))


def read_chat(body: bytes) -> ChatRequest:
    """Decode a body of ``/api/chat``.

    Raises:
        BadRequest: with Ollama's text.
    """
    return ChatRequest(**_read(body, _CHAT, "ChatRequest"))


def _refuse(fields: dict[str, bool]) -> None:
    """Say no to what is asked for and not there yet, naming it."""
    asked = [name for name, wanted in fields.items() if wanted]
    if asked:
        raise Unsupported(f"not supported by this version of trillama: {', '.join(asked)}")


def _common(request: _Common) -> dict[str, Any]:
    rule, options = constraint(request.format, request.options)
    return {
        "model": request.model,
        "options": options,
        "constraint": rule,
        "think": request.think,
        "keep_alive": request.keep_alive,
        "adapters": request.adapter,
        "truncate": request.truncate,
        "shift": request.shift,
        "logprobs": request.top_logprobs if request.logprobs else None,
    }


def generate_turn(request: GenerateRequest) -> TurnRequest:
    """Neutral words for a generate request.

    Raises:
        NotFound: no model was named (Ollama's answer here, where chat has a 400).
        Unsupported: a known field that is not there yet.
        BadRequest: fields that exclude each other.
    """
    if not request.model.strip():
        raise NotFound(f"model '{request.model}' not found")
    _refuse({"images": bool(request.images) and not request.debug_render_only})
    common = _common(request) | {"verb": "generate"}
    if request.raw:
        if request.template or request.system or request.context:
            raise BadRequest("raw mode does not support template, system, or context")
        if request.suffix:
            raise BadRequest("raw mode does not support suffix")
        return TurnRequest(raw=request.prompt, **common)
    if request.suffix:  # a gap has neither system text nor history
        common |= {"suffix": request.suffix}
    asked = [Message("user", request.prompt, images=tuple(request.images))]
    if request.system and not request.suffix:
        asked.insert(0, Message("system", request.system))
    return TurnRequest(
        messages=tuple(asked) if request.prompt else (),
        template=request.template,
        prefix=None if request.context is None else tuple(request.context),
        wants_tokens=True,
        **common,
    )


def chat_turn(request: ChatRequest) -> TurnRequest:
    """Neutral words for a chat request.

    Raises:
        BadRequest: no model was named.
        Unsupported: a known field that is not there yet.
    """
    if not request.model.strip():
        raise BadRequest("model is required")
    shown = request.debug_render_only
    _refuse({"images": not shown and any(message.images for message in request.messages)})
    return TurnRequest(
        messages=tuple(request.messages),
        tools=tuple(request.tools),
        tool_choice=request.tool_choice,
        **_common(request),
    )


BODIES: dict[str, goshape.Table] = {
    "/api/generate": _GENERATE,
    "/api/chat": _CHAT,
    "/apply-template": _CHAT,
}
"""The tables of the bodies at these paths."""

__all__ = [
    "BODIES",
    "ChatRequest",
    "GenerateRequest",
    "chat_turn",
    "generate_turn",
    "read_chat",
    "read_generate",
]
