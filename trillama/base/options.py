"""Ollama's ``options``, typed: defaults, merging and range checks.

One frozen struct from the wire to the sampler. Layers are merged per key: built-in defaults, then
the model's own parameters, then the request's. Names and defaults: Ollama's api/types.go; ranges:
those llama-server enforces, because values outside them make llama.cpp's samplers misbehave.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from .callers import Priority, parse_priority, parse_timeout
from .errors import BadRequest


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Every option of a request after merging.

    Attributes:
        num_ctx: positions this request may use; 0 means the model's pool.
        num_predict: tokens to generate at most; negative means until the context ends.
        num_keep: tokens kept at the front by a context shift.
        repeat_last_n: tokens the penalties look back; -1 means the whole context, 0 none.
        seed: negative means a fresh random one.
        num_gpu: layers on GPUs; negative means all that fit.
        num_thread: 0 means one per physical core.
        draft_num_predict: tokens to guess ahead in a step at most; negative means as many as pay.
        timeout: seconds the answer may take, its waiting included.
        priority: how urgent the request is beside others.
    """

    num_ctx: int = 0
    num_batch: int = 512
    num_gpu: int = -1
    main_gpu: int | None = None
    use_mmap: bool | None = None
    num_thread: int = 0
    draft_num_predict: int = -1
    num_keep: int = 4
    seed: int = -1
    num_predict: int = -1
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    temperature: float = 0.8
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    timeout: float = math.inf
    priority: Priority = Priority.INTERACTIVE

    @property
    def greedy(self) -> bool:
        """True when the most probable token is always taken."""
        return self.temperature <= 0 or self.top_k == 1

    @property
    def penalised(self) -> bool:
        """True when earlier tokens change the distribution."""
        changed = self.repeat_penalty != 1 or self.presence_penalty or self.frequency_penalty
        return bool(changed) and self.repeat_last_n != 0


_KINDS = {
    "integer": (
        "num_ctx num_batch num_gpu main_gpu num_thread draft_num_predict num_keep seed "
        "num_predict top_k repeat_last_n"
    ),
    "float32": (
        "top_p min_p typical_p temperature repeat_penalty presence_penalty frequency_penalty"
    ),
    "boolean": "use_mmap",
    "array": "stop",
    "map": "logit_bias",
    "text": "timeout priority",
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}


def option_kind(name: str) -> str | None:
    """The type of its values in Ollama's words, or "text"; None for a name that has no effect."""
    return _KIND_OF.get(name)


_HUGE = 1e300
"""Beyond any range below, and still a float."""

MAX_BIAS = 100
BAN = -1e9

MAX_BIASES = 4096
"""Tokens that may be favoured or banned by one request."""

MAX_STOP = 16_384
"""Characters of all stop strings together: a search through the answer is built from them."""

_RANGES: dict[str, tuple[float, float]] = {
    "num_batch": (1, 2**31 - 1),
    "num_gpu": (-1, 2**31 - 1),
    "main_gpu": (-1, 2**31 - 1),
    "num_thread": (0, 1024),
    "draft_num_predict": (-1, 2**31 - 1),
    "num_ctx": (0, 2**31 - 1),
    "num_predict": (-(2**31), 2**31 - 1),
    "num_keep": (-1, 2**31 - 1),
    "top_k": (0, 2**31 - 1),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "temperature": (0, 1e6),
    "repeat_last_n": (-1, 2**31 - 1),
    "repeat_penalty": (1e-6, 1e6),
    "presence_penalty": (-1e6, 1e6),
    "frequency_penalty": (-1e6, 1e6),
    "seed": (-(2**63), 2**63 - 1),
}


_TEXTS: dict[str, Callable[[str, object], Any]] = {
    "timeout": parse_timeout,
    "priority": parse_priority,
}


def _convert(name: str, value: Any) -> Any:
    kind = _KIND_OF[name]
    if kind == "text":
        return _TEXTS[name](f'option "{name}"', value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not abs(value) <= _HUGE:  # NaN too
        raise BadRequest(f'option "{name}" must be a finite number')
    if kind == "integer" and number:
        return int(value)
    if kind == "float32" and number:
        return float(value)
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "array" and isinstance(value, list | tuple):
        return _strings(name, value)
    if kind == "map" and isinstance(value, dict):
        return _biases(name, value)
    raise BadRequest(f'option "{name}" must be of type {kind}')


def _biases(name: str, value: dict[Any, Any]) -> tuple[tuple[int, float], ...]:
    """Token to bias, as JSON has it: the token is a string of digits; ``false`` bans it."""
    if len(value) > MAX_BIASES:
        raise BadRequest(f'option "{name}" may name {MAX_BIASES} tokens')
    return tuple((_token(name, token), _bias(name, bias)) for token, bias in value.items())


def _token(name: str, token: Any) -> int:
    if isinstance(token, int) or (isinstance(token, str) and token.isascii() and token.isdigit()):
        return int(token[:10] if isinstance(token, str) else token)
    raise BadRequest(f'option "{name}" must have tokens as its keys, not {token!r:.40}')


def _bias(name: str, bias: Any) -> float:
    if bias is False:
        return BAN
    if isinstance(bias, bool) or not isinstance(bias, int | float):
        raise BadRequest(f'option "{name}" must have numbers as its values')
    if not -MAX_BIAS <= bias <= MAX_BIAS:
        raise BadRequest(f'option "{name}" must have values between -{MAX_BIAS} and {MAX_BIAS}')
    return float(bias)


def _strings(name: str, value: list[Any] | tuple[Any, ...]) -> tuple[str, ...]:
    if not all(isinstance(item, str) for item in value):
        raise BadRequest(f'option "{name}" must be of an array of strings')
    if sum(map(len, value)) > MAX_STOP:
        raise BadRequest(f'option "{name}" may have {MAX_STOP} characters in all')
    return tuple(item for item in value if item)


def _check(name: str, value: Any) -> Any:
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    if isinstance(value, int | float) and not low <= value <= high:
        raise BadRequest(f'option "{name}" must be between {low:g} and {high:g}, not {value:g}')
    return value


def merge_options(base: Options, changes: dict[str, Any]) -> tuple[Options, list[str]]:
    """Lay ``changes`` (a JSON object) over ``base``.

    Returns:
        the merged options, and the names that have no effect (unknown or retired).

    Raises:
        BadRequest: a value of the wrong type or outside its range; the message names the option.
    """
    known: dict[str, Any] = {}
    ignored: list[str] = []
    for name, value in changes.items():
        if name not in _KIND_OF:
            ignored.append(name)
        elif value is not None:
            known[name] = _check(name, _convert(name, value))
    return (msgspec.structs.replace(base, **known) if known else base), ignored
