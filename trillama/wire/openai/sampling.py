"""What the requests of this dialect share: sampling, limits, and what trillama adds to them.

Nothing is filled in: what a client leaves out is decided by the model's own parameters.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...base.constraints import Constraint, ConstraintKind
from ...base.durations import keep_alive_from_json
from ...base.errors import BadField, BadRequest

MAX_CHOICES = 64
"""Answers one request may ask for."""

_EFFORTS: dict[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
    "xhigh": "max",
    "ultra": "max",
}
_EXTRAS = ("top_k", "min_p", "typical_p", "repeat_penalty", "repeat_last_n", "num_ctx", "num_keep")
_SHARED = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "logit_bias")


class StreamOptions(msgspec.Struct, kw_only=True):
    """How a stream is told."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Extras(msgspec.Struct, kw_only=True):
    """Fields beyond OpenAI's, the same on all its routes here.

    Attributes:
        options: Ollama's options by name; a field of the request itself wins.
        keep_alive: as in Ollama's API.
        adapter: LoRA adapters instead of the model's own.
        truncate: an over-long prompt is cut instead of refused.
        grammar: GBNF that the answer has to follow.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    num_ctx: int | None = None
    num_keep: int | None = None
    options: dict[str, Any] | None = None
    keep_alive: Any = None
    adapter: Any = None
    truncate: bool | None = None
    grammar: str | None = None


class Sampling(Extras, kw_only=True):
    """What chat and plain completions share beyond that."""

    max_tokens: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, Any] | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    @property
    def includes_usage(self) -> bool:
        """A stream ends with its counts."""
        return bool(self.stream_options and self.stream_options.include_usage)


def options_of(request: Extras, limit: int | None) -> dict[str, Any]:
    """Ollama's options for what the request says; what it leaves out is left out.

    Args:
        limit: tokens of the answer.
    """
    found = dict(request.options or {})
    for name in (*_SHARED, *_EXTRAS):
        value = getattr(request, name, None)
        if value is not None:
            found[name] = value
    if limit is not None:
        found["num_predict"] = limit
    stop = getattr(request, "stop", None)
    if stop:
        found["stop"] = [stop] if isinstance(stop, str) else stop
    return found


def keep_alive_of(request: Extras) -> int | None:
    """Nanoseconds.

    Raises:
        BadField: a duration nobody can read.
    """
    if request.keep_alive is None:
        return None
    try:
        return keep_alive_from_json(request.keep_alive)
    except ValueError as error:
        raise BadField("keep_alive", str(error)) from None


def choices_of(request: Sampling) -> int:
    """How many answers are wanted.

    Raises:
        BadField: none, or more than may be.
    """
    wanted = 1 if request.n is None else request.n
    if not 1 <= wanted <= MAX_CHOICES:
        raise BadField("n", f"n must be between 1 and {MAX_CHOICES}, not {wanted}")
    return wanted


def think_of(effort: str | None) -> bool | str | None:
    """What an effort means; None leaves it to the model.

    Raises:
        BadRequest: with Ollama's text.
    """
    if not effort:
        return None
    if effort not in _EFFORTS:
        words = '"minimal", "low", "medium", "high", "xhigh", "ultra", "max", or "none"'
        raise BadRequest(f'invalid reasoning value: "{effort}" (must be {words})')
    return _EFFORTS[effort]


def schema_constraint(schema: Any, field: str) -> Constraint:
    """The rule of a JSON schema.

    Raises:
        BadField: it is none.
    """
    if not isinstance(schema, dict | bool):
        raise BadField(field, f"{field} must be a JSON Schema object")
    return Constraint(ConstraintKind.SCHEMA, msgspec.json.encode(schema).decode())


def grammar_constraint(grammar: str | None, other: Constraint | None) -> Constraint | None:
    """``other``, or the grammar.

    Raises:
        BadField: both.
    """
    if not grammar:
        return other
    if other is not None:
        raise BadField("grammar", "grammar cannot be used together with another output format")
    return Constraint(ConstraintKind.GBNF, grammar)
