"""``/v1/completions``: text or tokens that the model goes on with, as they are.

No template is applied: the prompt is the beginning of a text, and the answer what follows, shown as
it is said. With a ``suffix`` the model fills in what is missing between the two.
"""

from __future__ import annotations

from typing import Any

from ...base.errors import BadField, UnsupportedField
from ...base.messages import Message
from ...base.turns import TurnRequest
from ..adapters import adapter_choices
from ..goshape import Refusals
from ..requests import RequestReader, refuse
from .chat import MAX_TOP_LOGPROBS, STREAM_REFUSED, several
from .sampling import (
    MAX_CHOICES,
    Sampling,
    choices_of,
    grammar_constraint,
    keep_alive_of,
    options_of,
)


class CompletionRequest(Sampling, kw_only=True):
    """Body of ``/v1/completions``.

    Attributes:
        prompt: a text, its tokens, or a list of either.
        echo: the answer begins with the prompt.
        logprobs: alternatives beside each token.
    """

    model: str
    prompt: str | list[Any] | None = None
    suffix: str | None = None
    echo: bool | None = None
    logprobs: int | None = None
    best_of: int | None = None


LABELS = ("user",)
REFUSED: Refusals = {}

read_completion = RequestReader(CompletionRequest, REFUSED)


def completion_turns(request: CompletionRequest) -> list[TurnRequest]:
    """One neutral request for each answer; those to one prompt are neighbours.

    Raises:
        BadRequest: the request contradicts itself, or asks for what cannot be had.
    """
    if not request.model.strip():
        raise BadField("model", "model is required")
    if request.stream_options:
        refuse(request.stream_options, STREAM_REFUSED, "stream_options.")
    count = choices_of(request)
    if request.best_of not in (None, count):
        raise UnsupportedField("best_of", "answers are not ranked; ask for n and choose: best_of")
    if request.echo and request.logprobs is not None:
        raise UnsupportedField("echo", "a prompt has no logprobs here; not together: echo")
    prompts = prompts_of(request)
    if len(prompts) * count > MAX_CHOICES:
        raise BadField("prompt", f"a request may ask for {MAX_CHOICES} answers in all")
    turns: list[TurnRequest] = []
    for prompt in prompts:
        turns += several(_turn(request, prompt), count)
    return turns


def prompts_of(request: CompletionRequest) -> list[str | tuple[int, ...]]:
    """The prompts, each a text or tokens.

    Raises:
        BadField: none, or something else.
    """
    value = request.prompt
    if isinstance(value, list) and value and not all(isinstance(one, int) for one in value):
        return [_prompt(one, f"prompt[{at}]", request) for at, one in enumerate(value)]
    return [_prompt(value, "prompt", request)]


def _prompt(value: Any, place: str, request: CompletionRequest) -> str | tuple[int, ...]:
    if isinstance(value, str) and (value or request.suffix):
        return value
    tokens = isinstance(value, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**31 for one in value
    )
    if not tokens or not value:
        raise BadField(place, f"{place} must be a text or a list of tokens, and not empty")
    if request.suffix:
        raise BadField("suffix", "suffix needs a prompt of text")
    return tuple(value)


def _turn(request: CompletionRequest, prompt: str | tuple[int, ...]) -> TurnRequest:
    what: dict[str, Any] = {"raw_tokens": prompt}
    if isinstance(prompt, str):
        what = {"raw": prompt}
        if request.suffix:
            what = {"messages": (Message("user", prompt),), "suffix": request.suffix}
    return TurnRequest(
        model=request.model,
        verb="generate",
        constraint=grammar_constraint(request.grammar, None),
        logprobs=_logprobs(request.logprobs),
        options=options_of(request, request.max_tokens),
        keep_alive=keep_alive_of(request),
        adapters=adapter_choices(request.adapter),
        truncate=request.truncate,
        verbatim=True,
        **what,
    )


def _logprobs(wanted: int | None) -> int | None:
    if wanted is not None and not 0 <= wanted <= MAX_TOP_LOGPROBS:
        raise BadField("logprobs", f"logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    return wanted
