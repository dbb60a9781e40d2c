"""``/api/embed``, ``/api/embeddings`` and ``/v1/embeddings`` as their clients speak them.

The readers turn bodies into neutral requests, the writers vectors into answers. Field names and the
texts of errors are Ollama's; token arrays are OpenAI's. Like chat's last record, an answer says
when something was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..base.embeddings import EmbeddingRequest, Input, Vectors
from ..base.errors import BadRequest, NotFound
from . import gojson, goshape
from .adapters import adapter
from .floats import base64_rows, shortest
from .goshape import Place

MAX_INPUTS = 16_384
"""Inputs of one request."""

FORMATS = ("float", "base64")


class OpenAIEmbeddings(msgspec.Struct, kw_only=True):
    """Body of ``/v1/embeddings``, understood."""

    request: EmbeddingRequest
    base64: bool = False


_TEXTS = {"type": "array", "items": {"type": "string"}}
_TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}


@goshape.described(anyOf=[{"type": "string"}, _TEXTS])
def _input(value: Any, place: Place) -> Any:
    """Looked at when everything else is read."""
    return value


@goshape.described(anyOf=[{"type": "string"}, _TEXTS, _TOKENS, {"type": "array", "items": _TOKENS}])
def _openai_input(value: Any, place: Place) -> Any:
    """The same, tokens too."""
    return value


COMMON: goshape.Table = {
    "model": goshape.string,
    "truncate": goshape.boolean,
    "keep_alive": goshape.keep_alive,
    "adapter": adapter,
    "options": goshape.mapping,
}
_EMBED: goshape.Table = {**COMMON, "input": _input, "dimensions": goshape.integer}
_EMBEDDINGS: goshape.Table = {**COMMON, "prompt": goshape.string}
_OPENAI: goshape.Table = {
    **_EMBED,
    "input": _openai_input,
    "encoding_format": goshape.string,
    "num_ctx": goshape.integer,
    "user": goshape.label,
}


def _bounded(inputs: Sequence[Input]) -> tuple[Input, ...]:
    if len(inputs) > MAX_INPUTS:
        raise BadRequest(f"{len(inputs)} inputs in one request; at most {MAX_INPUTS} are possible")
    return tuple(inputs)


def _texts(value: Any) -> tuple[Input, ...]:
    """Ollama's input: a string or strings; an empty one alone is none."""
    found = value if isinstance(value, list) else [value] if value not in (None, "") else []
    if not all(isinstance(text, str) for text in found):
        raise BadRequest("invalid input type")
    return _bounded(found)


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_token_list(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(map(_is_token, value))


def _openai_inputs(value: Any) -> tuple[Input, ...]:
    """OpenAI's input: a string, strings, tokens, or lists of tokens."""
    if value is None or value == []:
        raise BadRequest("invalid input")
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return _bounded(value)
    if isinstance(value, list) and all(map(_is_token, value)):
        return (tuple(value),)
    if isinstance(value, list) and all(map(_is_token_list, value)):
        return _bounded([tuple(item) for item in value])
    raise BadRequest("invalid input type")


def read_embed(body: bytes) -> EmbeddingRequest:
    """Decode a body of ``/api/embed``.

    Raises:
        BadRequest: with Ollama's text.
        NotFound: no model was named.
    """
    found = goshape.body(gojson.decode(body), _EMBED, "EmbedRequest")
    if not found.get("model", "").strip():
        raise NotFound(f"model '{found.get('model', '')}' not found")
    return EmbeddingRequest(inputs=_texts(found.pop("input", None)), **found)


def read_embeddings(body: bytes) -> EmbeddingRequest:
    """Decode a body of ``/api/embeddings``, which never cuts.

    Raises:
        BadRequest: with Ollama's text.
    """
    found = goshape.body(gojson.decode(body), _EMBEDDINGS, "EmbeddingRequest")
    if not found.get("model", "").strip():
        raise BadRequest("model is required")
    inputs = _texts(found.pop("prompt", None))
    return EmbeddingRequest(inputs=inputs, **{"truncate": False, **found})


def read_openai_embeddings(body: bytes) -> OpenAIEmbeddings:
    """Decode a body of ``/v1/embeddings``.

    Raises:
        BadRequest: with Ollama's text.
        NotFound: no model was named.
    """
    found = goshape.body(gojson.decode(body), _OPENAI, "EmbedRequest")
    kind = found.pop("encoding_format", "float")
    if kind.lower() not in FORMATS:
        raise BadRequest(
            f"Invalid value for 'encoding_format' = {kind}. Supported values: ['float', 'base64']."
        )
    inputs = _openai_inputs(found.pop("input", None))
    if not found.get("model", "").strip():
        raise NotFound(f"model '{found.get('model', '')}' not found")
    if "num_ctx" in found:
        found["options"] = found.get("options", {}) | {"num_ctx": found.pop("num_ctx")}
    return OpenAIEmbeddings(
        request=EmbeddingRequest(inputs=inputs, **found), base64=kind.lower() == "base64"
    )


def cut(dropped: int) -> dict[str, Any]:
    """What an answer says of inputs that were cut; nothing when none was."""
    return {"truncated": True, "prompt_tokens_dropped": dropped} if dropped else {}


def write_embed(model: str, found: Vectors | None) -> bytes:
    """The answer of ``/api/embed``; None when nothing was to be embedded."""
    if found is None:
        return gojson.encode({"model": model, "embeddings": []})
    counts = {
        "total_duration": found.total_ns,
        "load_duration": found.load_ns,
        "prompt_eval_count": found.prompt_tokens,
    }
    shown = {name: value for name, value in counts.items() if value}
    embeddings = shortest(found.rows)
    return gojson.encode({"model": model, "embeddings": embeddings} | shown | cut(found.dropped))


def write_embeddings(found: Vectors | None) -> bytes:
    """The answer of ``/api/embeddings``; its values are those of float64."""
    row = [] if found is None else found.rows[0].tolist()
    return gojson.encode({"embedding": row})


def write_openai_embeddings(model: str, found: Vectors, *, as_base64: bool) -> bytes:
    """The answer of ``/v1/embeddings``."""
    rows = base64_rows(found.rows) if as_base64 else shortest(found.rows)
    data = [
        {"object": "embedding", "embedding": row, "index": index} for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
    answer = {"object": "list", "data": data, "model": model, "usage": usage}
    return gojson.encode(answer | cut(found.dropped))


BODIES: dict[str, goshape.Table] = {
    "/api/embed": _EMBED,
    "/api/embeddings": _EMBEDDINGS,
    "/v1/embeddings": _OPENAI,
}
"""The tables of the bodies at these paths."""
