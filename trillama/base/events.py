"""What happens to a job, as small frozen values passed from floor to floor.

Two vocabularies. The step loop speaks in tokens (``Admitted``, ``Sampled``, ``Ended``); the
runner turns those into text for the Desk (``Text``, ``Done``). Exactly one ``Done`` or one raised
error ends every accepted job. What there is one of for each token is a struct of msgspec: it is
made eight times as fast as a frozen dataclass, and no garbage collector looks at it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from .errors import TrillamaError


class StopReason(enum.StrEnum):
    """Why an answer ended, in Ollama's words where it has one."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Admitted:
    """The job got a sequence; prefill begins.

    Attributes:
        cached: prompt tokens taken from the prefix cache, never computed again.
        at: monotonic nanoseconds.
    """

    job_id: str
    cached: int
    at: int


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Log-probabilities at one place of an answer, before penalties, temperature and filters.

    Attributes:
        logprob: of the token that was chosen.
        top: the most probable tokens with theirs, best first.
    """

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Sampled(msgspec.Struct, frozen=True, gc=False):
    """One generated token; end-of-generation tokens are reported by ``Ended`` alone.

    Attributes:
        at: monotonic nanoseconds of the sampling.
        scores: if the job asked for them.
    """

    job_id: str
    token: int
    at: int
    scores: TokenScores | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The job has left the batch; nothing follows.

    Attributes:
        error: set if and only if ``reason`` is ERROR.
        shifted: tokens the context shift dropped from the middle of the sequence.
        complete: a rule was fulfilled, so that no end token was sampled.
        drafted, accepted: tokens guessed ahead, and those of them that were right.
        at: monotonic nanoseconds.
    """

    job_id: str
    reason: StopReason
    at: int
    error: TrillamaError | None = None
    shifted: int = 0
    complete: bool = False
    drafted: int = 0
    accepted: int = 0


StepEvent: TypeAlias = Admitted | Sampled | Ended


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts and durations of one answer; durations in nanoseconds.

    Attributes:
        prompt_tokens: tokens of the prompt, cached ones included.
        cached_tokens: those taken from the prefix cache.
        output_tokens: tokens generated, the ending one included if it was sampled.
        drafted_tokens: tokens guessed ahead; ``accepted_tokens`` of them were right.
        queue_ns: from submission to admission.
        prompt_ns: from admission to the first token.
        output_ns: from the first token to the end.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    queue_ns: int = 0
    prompt_ns: int = 0
    output_ns: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


class Text(msgspec.Struct, frozen=True, gc=False):
    """Text that is safe to show: whole characters, and no part of a stop string.

    Attributes:
        tokens: those whose text this is, and those before them that have none.
        scores: of each of ``tokens`` if they were asked for, else empty.
    """

    text: str
    tokens: tuple[int, ...] = ()
    scores: tuple[TokenScores, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is complete.

    Attributes:
        shifted: tokens the context shift dropped from the middle of the sequence.
        stop: the stop string that ended it, "" if none did.
    """

    reason: StopReason
    usage: Usage
    shifted: int = 0
    stop: str = ""


AnswerEvent: TypeAlias = Text | Done
