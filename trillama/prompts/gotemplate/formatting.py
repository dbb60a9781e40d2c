"""print, println and printf."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..budget import Budget
from .printing import FIELD_NAMES, GO_SYNTAX, MAX_WIDTH, Printer, Spec
from .values import NO_VALUE, type_name

_FLAGS = re.compile(r"[#0+\- ]*")
_NUMBER = re.compile(r"[0-9]+")


def sprint(values: Sequence[Any], budget: Budget) -> str:
    """``print``: a space between two values neither of which is a string."""
    printer = Printer(budget)
    text_before = True
    for value in values:
        text = isinstance(value, str)
        if not text and not text_before:
            printer.write(" ")
        printer.value(value)
        text_before = text
    return printer.text


def sprintln(values: Sequence[Any], budget: Budget) -> str:
    """``println``: a space between all values, a line feed at the end."""
    printer = Printer(budget)
    for at, value in enumerate(values):
        printer.write(" " * (at > 0))
        printer.value(value)
    printer.write("\n")
    return printer.text


def sprintf(layout: str, values: Sequence[Any], budget: Budget) -> str:
    """``printf``; what does not fit is shown in the text, as Go shows it."""
    return _Directives(layout, values, budget).run()


class _Directives:
    """Reads a layout from left to right."""

    def __init__(self, layout: str, values: Sequence[Any], budget: Budget) -> None:
        self._layout = layout
        self._values = values
        self._printer = Printer(budget)
        self._at = 0
        self._next = 0
        self._good = True
        self._reordered = False

    def run(self) -> str:
        """The whole text."""
        layout = self._layout
        while self._at < len(layout):
            end = layout.find("%", self._at)
            end = len(layout) if end < 0 else end
            if end > self._at:
                self._printer.write(layout[self._at : end])
            self._at = end + 1
            if end < len(layout):
                self._directive()
        if not self._reordered and self._next < len(self._values):
            self._extra()
        return self._printer.text

    def _directive(self) -> None:
        self._good = True
        flags = self._match(_FLAGS)
        indexed = self._index()
        width, indexed, left = self._width(indexed)
        precision, indexed = self._precision(indexed)
        if not indexed:
            self._index()
        if self._at >= len(self._layout):
            self._printer.write("%!(NOVERB)")
            return
        verb = self._layout[self._at]
        self._at += 1
        if "-" in flags or left:
            flags = flags.replace("0", "") + "-"
        if verb == "v":
            flags = flags.replace("#", GO_SYNTAX).replace("+", FIELD_NAMES)
        self._print(verb, Spec(frozenset(flags), width, precision))

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._layout, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _number(self) -> int | None:
        digits = self._match(_NUMBER)
        if digits and (len(digits) > 7 or int(digits) > MAX_WIDTH):
            return None
        return int(digits) if digits else None

    def _index(self) -> bool:
        """Take ``[n]``; whether there was one."""
        if self._layout[self._at : self._at + 1] != "[":
            return False
        self._reordered = True
        end = self._layout.find("]", self._at)
        digits = self._layout[self._at + 1 : end] if end >= 0 else ""
        self._at = end + 1 if end >= 0 else self._at + 1
        valid = digits.isascii() and digits.isdigit() and len(digits) < 7
        if valid and 0 < int(digits) <= len(self._values):
            self._next = int(digits) - 1
            return True
        self._good = False
        return valid

    def _star(self) -> int | None:
        """The number an argument gives; None where it gives none."""
        if self._next >= len(self._values):
            return None
        value = self._values[self._next]
        self._next += 1
        whole = isinstance(value, int) and not isinstance(value, bool)
        return value if whole and abs(value) <= MAX_WIDTH else None

    def _width(self, indexed: bool) -> tuple[int | None, bool, bool]:
        """Width, whether an index stands just before, and whether the width was negative."""
        if self._layout[self._at : self._at + 1] != "*":
            width = self._number()
            if indexed and width is not None:
                self._good = False
            return width, indexed, False
        self._at += 1
        width = self._star()
        if width is None:
            self._printer.write("%!(BADWIDTH)")
            return None, False, False
        return abs(width), False, width < 0

    def _precision(self, indexed: bool) -> tuple[int | None, bool]:
        if self._layout[self._at : self._at + 1] != ".":
            return None, indexed
        self._at += 1
        if indexed:
            self._good = False
        indexed = self._index()
        if self._layout[self._at : self._at + 1] != "*":
            return self._number() or 0, indexed
        self._at += 1
        precision = self._star()
        if precision is None or precision < 0:
            self._printer.write("%!(BADPREC)")
            return None, False
        return precision, False

    def _print(self, verb: str, spec: Spec) -> None:
        if verb == "%":
            self._printer.write("%")
        elif not self._good:
            self._printer.write(f"%!{verb}(BADINDEX)")
        elif self._next >= len(self._values):
            self._printer.write(f"%!{verb}(MISSING)")
        else:
            value = self._values[self._next]
            self._next += 1
            self._printer.value(value, verb, spec)

    def _extra(self) -> None:
        write = self._printer.write
        write("%!(EXTRA ")
        for at, value in enumerate(self._values[self._next :]):
            write(", " * (at > 0))
            if value is None or value is NO_VALUE:
                write("<nil>")
            else:
                write(f"{type_name(value)}=")
                self._printer.value(value)
        write(")")
