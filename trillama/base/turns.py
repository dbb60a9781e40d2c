"""One turn of a conversation in neutral words: what every dialect asks for and what it is told.

A dialect translates its request into a ``TurnRequest`` and writes ``TurnEvent`` values in its own
records; nothing between the two knows which dialect it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from .events import StopReason, Usage
from .messages import Message


class TurnRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to answer, and how.

    Attributes:
        model: the name as the client sent it.
        verb: what the client asked the model to do, for texts of errors.
        messages: the conversation; empty together with no ``raw`` means load or unload only.
        raw: text given to the model as it is, instead of ``messages``.
        prefix: tokens put before the prompt; None also means the model's stored messages apply.
        options: sampling options by name, as sent.
        think: None leaves it to the model.
        keep_alive: nanoseconds to stay loaded afterwards; None leaves it as it is, 0 unloads.
        truncate: True cuts an over-long prompt; otherwise it is an error.
        shift: whether the window may slide while generating; None means yes.
        wants_tokens: ``Finished`` shall carry the tokens of prompt and answer.
    """

    model: str
    verb: str = "chat"
    messages: tuple[Message, ...] = ()
    raw: str = ""
    prefix: tuple[int, ...] | None = None
    options: dict[str, Any] = {}
    think: bool | str | None = None
    keep_alive: int | None = None
    truncate: bool | None = None
    shift: bool | None = None
    wants_tokens: bool = False

    @property
    def only_loads(self) -> bool:
        """Nothing is to be answered."""
        return not self.messages and not self.raw

    @property
    def only_unloads(self) -> bool:
        """The model shall leave memory."""
        return self.only_loads and self.keep_alive == 0


@dataclass(frozen=True, slots=True)
class Piece:
    """More of the answer: reasoning, content or both."""

    content: str = ""
    thinking: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The answer is complete; durations in nanoseconds.

    Attributes:
        total_ns: since the request came.
        load_ns: until the model was ready.
        dropped: prompt tokens left out because truncation was asked for.
        tokens: prompt and answer, if they were asked for.
    """

    reason: StopReason
    usage: Usage
    total_ns: int = 0
    load_ns: int = 0
    dropped: int = 0
    tokens: tuple[int, ...] = ()


TurnEvent: TypeAlias = Piece | Finished
