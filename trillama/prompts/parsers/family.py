"""A family of models: how its answers are to be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .contract import AnswerParser, Tools
from .sections import Form, SectionParser


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
        unread: nobody reads its calls yet; tools are refused by this name.
        other: makes the parser where it is not the machine of ``sections``.
    """

    name: str
    forms: tuple[Form, ...] = ()
    silent: tuple[str, ...] = ()
    between: str = ""
    interrupts: bool = False
    always: bool = False
    unread: bool = False
    other: Callable[[Tools], AnswerParser] | None = None
    others_marks: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts that must reach the parser, even where they are control tokens."""
        calls = (form.mark for form in self.forms if not form.first)
        return (*calls, *self.silent, *self.others_marks)

    def parser(self, tools: Tools) -> AnswerParser:
        """A parser for one answer to a request that offers ``tools``."""
        if self.other:
            return self.other(tools)
        forms = self.forms if tools else ()
        return SectionParser(forms, tools, silent=self.silent, between=self.between)
