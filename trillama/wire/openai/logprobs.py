"""Log-probabilities in this dialect's two shapes: a list of tokens, and four columns of old."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...base.turns import Candidate, TokenLogprob
from ..gojson import number

LOWEST = -9999.0
"""Stands for a probability of nought; JSON has no word for minus infinity."""


def _text(candidate: Candidate) -> str:
    return candidate.text.decode("utf-8", "replace")


def _value(candidate: Candidate) -> Any:
    return number(max(candidate.logprob, LOWEST))


def _token(candidate: Candidate) -> dict[str, Any]:
    return {
        "token": _text(candidate),
        "logprob": _value(candidate),
        "bytes": list(candidate.text),
    }


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """One entry a token, each with its alternatives."""
    content = [
        {**_token(one.chosen), "top_logprobs": [_token(other) for other in one.top]}
        for one in tokens
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    """Four columns.

    Args:
        offset: characters of the text that came before the first token.
    """
    offsets: list[int] = []
    for one in tokens:
        offsets.append(offset)
        offset += len(_text(one.chosen))
    return {
        "tokens": [_text(one.chosen) for one in tokens],
        "token_logprobs": [_value(one.chosen) for one in tokens],
        "top_logprobs": [{_text(other): _value(other) for other in one.top} for one in tokens],
        "text_offset": offsets,
    }


def text_length(tokens: Sequence[TokenLogprob]) -> int:
    """Characters of all their texts."""
    return sum(len(_text(one.chosen)) for one in tokens)
