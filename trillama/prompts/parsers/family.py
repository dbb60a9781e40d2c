"""A family of models: how its answers are to be read."""

from __future__ import annotations

import enum
import random
import re
import string
from collections.abc import Callable
from dataclasses import dataclass

from trillama.base.messages import ToolCall

from .contract import AnswerParser, Tools
from .envelope import Envelope
from .sections import Form, SectionParser


class Ids(enum.Enum):
    """What a family's templates want the ids of calls to look like."""

    ANY = enum.auto()
    NINE = enum.auto()
    NAMED = enum.auto()


_NINE = re.compile("[A-Za-z0-9]{9}")
_LETTERS = string.ascii_lowercase + string.digits


def call_id(ids: Ids, at: int, call: ToolCall) -> str:
    """An id for a call of the history that stands at ``at`` among all; its own where that will do.

    The same conversation always gets the same ids, so that its prompt stays in the cache.
    """
    if ids is Ids.NAMED:
        return call.id if ":" in call.id else f"functions.{call.function.name}:{at}"
    if ids is Ids.NINE:
        return call.id if _NINE.fullmatch(call.id) else f"{at:09d}"
    return call.id or f"call_{at}"


def new_id(ids: Ids) -> str:
    """A fresh id for a call that a model made without one."""
    letters = "".join(random.choices(_LETTERS, k=8))
    return f"c{letters}" if ids is Ids.NINE else f"call_{letters}"


@dataclass(frozen=True, slots=True)
class Family:
    """How the answers of a family of models are read.

    Attributes:
        name: for logs and tests.
        forms: of its tool calls.
        others_marks: further texts that must reach the parser.
        silent: marks around parts of an answer that are not shown.
        between: characters, beside blanks, that separate calls.
        interrupts: a call inside the reasoning ends the reasoning.
        always: its marks stand in answers without tools too.
        envelopes: formats in which it can be made to call; the model chooses among several.
        ids: what its templates want ids to look like.
        unread: nobody reads its calls yet; tools are refused by this name.
        other: makes the parser where it is not the machine of ``sections``.
    """

    name: str
    forms: tuple[Form, ...] = ()
    silent: tuple[str, ...] = ()
    between: str = ""
    interrupts: bool = False
    always: bool = False
    ids: Ids = Ids.ANY
    envelopes: tuple[Envelope, ...] = ()
    unread: bool = False
    other: Callable[[Tools, str], AnswerParser] | None = None
    others_marks: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts that must reach the parser, even where they are control tokens."""
        return (*self.openings, *self.silent, *self.others_marks)

    @property
    def openings(self) -> tuple[str, ...]:
        """The marks that calls begin with."""
        return tuple(form.mark for form in self.forms if not form.first)

    def parser(self, tools: Tools, prompt: str = "") -> AnswerParser:
        """A parser for one answer to ``prompt``, which offers ``tools``."""
        if self.other:
            return self.other(tools, prompt)
        forms = self.forms if tools else ()
        return SectionParser(forms, tools, silent=self.silent, between=self.between)
