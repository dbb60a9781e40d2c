"""One turn of a conversation in neutral words: what every dialect asks for and what it is told.

A dialect translates its request into a ``TurnRequest`` and writes ``TurnEvent`` values in its own
records; nothing between the two knows which dialect it was.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from .adapters import AdapterChoice
from .constraints import Constraint
from .events import StopReason, Usage
from .messages import Message, ToolCall


class ToolMode(enum.StrEnum):
    """Whether tools are called."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether, and with ``NAMED`` which, tool has to be called."""

    mode: ToolMode = ToolMode.AUTO
    name: str = ""


class TurnRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to answer, and how.

    Attributes:
        model: the name as the client sent it.
        verb: what the client asked the model to do, for texts of errors.
        messages: the conversation; empty together with no ``raw`` means load or unload only.
        raw: text given to the model as it is, instead of ``messages``.
        raw_tokens: tokens given to the model as they are, instead of ``messages`` and ``raw``.
        suffix: text that follows what is to be filled in; the last message is what precedes it.
        template: a template in place of the model's own, "" for none.
        tools: definitions as JSON objects, in the form ``{"type": "function", "function": …}``.
        parallel_tool_calls: the model may call several tools in one answer.
        constraint: what the answer must look like, None leaves it free.
        logprobs: None for none, else so many alternatives beside each token that was chosen.
        prediction: text that much of the answer is expected to consist of, "" for none.
        prefix: tokens put before the prompt; None also means the model's stored messages apply.
        options: sampling options by name, as sent.
        think: None leaves it to the model.
        keep_alive: nanoseconds to stay loaded afterwards; None leaves it as it is, 0 unloads.
        adapters: LoRA adapters instead of the model's own; None means those.
        truncate: True cuts an over-long prompt; otherwise it is an error.
        shift: whether the window may slide while generating; None means yes.
        wants_tokens: ``Finished`` shall carry the tokens of prompt and answer.
        verbatim: the answer is shown as said; nobody looks for reasoning or tool calls in it.
    """

    model: str
    verb: str = "chat"
    messages: tuple[Message, ...] = ()
    raw: str = ""
    raw_tokens: tuple[int, ...] = ()
    suffix: str = ""
    template: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    constraint: Constraint | None = None
    logprobs: int | None = None
    prediction: str = ""
    prefix: tuple[int, ...] | None = None
    options: dict[str, Any] = {}
    think: bool | str | None = None
    keep_alive: int | None = None
    adapters: tuple[AdapterChoice, ...] | None = None
    truncate: bool | None = None
    shift: bool | None = None
    wants_tokens: bool = False
    verbatim: bool = False

    @property
    def only_loads(self) -> bool:
        """Nothing is to be answered."""
        return not self.messages and not self.raw and not self.raw_tokens

    @property
    def only_unloads(self) -> bool:
        """The model shall leave memory."""
        return self.only_loads and self.keep_alive == 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token and its log-probability, before temperature and filters.

    Attributes:
        text: the token's bytes, not always whole characters.
    """

    token: int
    text: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The token that was chosen, and the most probable ones at its place, best first."""

    chosen: Candidate
    top: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """More of the answer: reasoning, content, whole tool calls, in any mixture.

    Attributes:
        logprobs: of the tokens whose text this is, if they were asked for.
    """

    content: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The answer is complete; durations in nanoseconds.

    Attributes:
        total_ns: since the request came.
        load_ns: until the model was ready.
        dropped: prompt tokens left out because truncation was asked for.
        tokens: prompt and answer, if they were asked for.
        stop: the stop string that ended the answer, "" if none did.
        malformed: a tool call was begun that is none; its text came as content.
        thinking_tokens: tokens of the answer that were reasoning, its marks included.
    """

    reason: StopReason
    usage: Usage
    total_ns: int = 0
    load_ns: int = 0
    dropped: int = 0
    tokens: tuple[int, ...] = ()
    stop: str = ""
    malformed: bool = False
    thinking_tokens: int = 0


TurnEvent: TypeAlias = Piece | Finished


def joined(events: Sequence[TurnEvent]) -> tuple[Piece, Finished]:
    """All that was said as one piece, and how it ended."""
    (end,) = (event for event in events if isinstance(event, Finished))
    return merged([event for event in events if isinstance(event, Piece)]), end


def merged(pieces: Sequence[Piece]) -> Piece:
    """Pieces that follow one another as one."""
    return Piece(
        "".join(piece.content for piece in pieces),
        "".join(piece.thinking for piece in pieces),
        tuple(call for piece in pieces for call in piece.tool_calls),
        tuple(logprob for piece in pieces for logprob in piece.logprobs),
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """An event of one of several answers to the same request."""

    index: int
    event: TurnEvent
