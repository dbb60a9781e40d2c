"""The machine most families share: content, with calls between marks.

A ``Form`` says how one kind of call looks: the mark that opens it, how to find its end while the
text grows, and how to read it. Whatever is decided is decided by a beginning of the text alone, so
the pieces it came in do not matter. Blank space around calls belongs to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from trillama.base.messages import ToolCall, ToolFunction
from trillama.base.turns import Piece

from .contract import Malformed, NoCall, Tools
from .json_text import JsonEnd
from .marks import Marks

_BLANK = re.compile(r"\s*")


class End(Protocol):
    """Finds where one call ends; made anew for each."""

    def find(self, text: str, start: int) -> int | None:
        """Offset behind the call whose mark ends at ``start``, None while it goes on.

        ``text`` is the same at each call, but longer.
        """
        ...


class Until:
    """Ends with the first of some marks."""

    def __init__(self, *marks: str) -> None:
        self._marks = re.compile("|".join(map(re.escape, marks)))
        self._back = max(map(len, marks)) - 1
        self._seen = 0

    def find(self, text: str, start: int) -> int | None:
        """See ``End``."""
        found = self._marks.search(text, max(start, self._seen - self._back))
        self._seen = len(text)
        return found.end() if found else None


class UntilThen(Until):
    """Ends with a mark, and with another behind it if that comes."""

    def __init__(self, mark: str, then: str) -> None:
        super().__init__(mark)
        self._then = then
        self._ended: int | None = None

    def find(self, text: str, start: int) -> int | None:
        """See ``End``."""
        if self._ended is None:
            self._ended = super().find(text, start)
        return None if self._ended is None else behind(text, self._ended, self._then)


class Either:
    """Ends as the kind of text ends that begins here; at once, where none of them begins.

    Args:
        ends: by the beginnings of the kinds.
    """

    def __init__(self, ends: Mapping[str, End]) -> None:
        self._ends = ends

    def find(self, text: str, start: int) -> int | None:
        """See ``End``."""
        at = skip(text, start)
        for beginning, end in self._ends.items():
            if text.startswith(beginning, at):
                return end.find(text, start)
        rest = text[at : at + max(map(len, self._ends))]
        return None if any(one.startswith(rest) for one in self._ends) else start


class Never:
    """Goes on to the end of the answer."""

    def find(self, text: str, start: int) -> int | None:
        """See ``End``."""
        return None


class JsonThen:
    """Ends with a JSON object or array, and a closing mark behind it if there is one.

    Where no JSON begins, nothing is waited for: the call ends at once, and is none.

    Args:
        close: the mark; "" for none.
    """

    def __init__(self, close: str = "") -> None:
        self._close = close
        self._json = JsonEnd()
        self._ended: int | None = None

    def find(self, text: str, start: int) -> int | None:
        """See ``End``."""
        begin = skip(text, start)
        if begin == len(text):
            return None
        if text[begin] not in "{[":
            return start
        if self._ended is None:
            self._ended = self._json.find(text, begin)
        return None if self._ended is None else behind(text, self._ended, self._close)


def behind(text: str, at: int, mark: str) -> int | None:
    """Offset behind ``mark`` where it follows blank space, else ``at``; None while undecided."""
    if not mark:
        return at
    begin = skip(text, at)
    if text.startswith(mark, begin):
        return begin + len(mark)
    return None if mark.startswith(text[begin:]) else at


def skip(text: str, at: int) -> int:
    """Offset of the first character from ``at`` that is not blank."""
    found = _BLANK.match(text, at)
    return found.end() if found else at


@dataclass(frozen=True, slots=True)
class Form:
    """How one kind of call looks.

    Attributes:
        mark: opens it.
        end: makes what finds its end.
        read: calls from the text between mark and end, closing mark included; raises ``Malformed``
            or ``NoCall``.
        first: counts only while nothing but calls was said; the mark is then part of the text.
    """

    mark: str
    end: Callable[[], End]
    read: Callable[[str, Tools], Iterable[ToolCall]]
    first: bool = False


@dataclass(slots=True)
class _Open:
    form: Form
    end: End


class SectionParser:
    """Reads content and calls; see ``AnswerParser``.

    Args:
        forms: of calls. No mark may be the beginning of another.
        silent: marks that are not shown.
        between: characters, beside blanks, that separate calls.
    """

    def __init__(
        self,
        forms: Sequence[Form],
        tools: Tools,
        *,
        silent: Sequence[str] = (),
        between: str = "",
    ) -> None:
        self.malformed = False
        self._tools = tools
        self._forms = {form.mark: form for form in forms}
        self._later = Marks([form.mark for form in forms if not form.first] + list(silent))
        self._always = Marks([*self._forms, *silent])
        self._between = re.compile(rf"[\s{re.escape(between)}]*")
        self._blank = ""  # space before the open call
        self._held = ""
        self._open: _Open | None = None
        self._said = False  # some content was shown
        self._after_call = False
        self._content: list[str] = []
        self._calls: list[ToolCall] = []
        self._count = 0

    def push(self, text: str) -> Piece:
        """See ``AnswerParser``."""
        self._held += text
        while self._step():
            pass
        return self._taken()

    def finish(self) -> Piece:
        """See ``AnswerParser``."""
        while self._step() or self._close_at_the_end():
            pass
        rest, self._held = self._held, ""
        if not self._after_call or rest.strip():
            self._show(rest)
        return self._taken()

    def _taken(self) -> Piece:
        said = Piece("".join(self._content), "", tuple(self._calls))
        self._content, self._calls = [], []
        return said

    def _step(self) -> bool:
        """Decide something about what is held; False when more text is needed for that."""
        if self._open:
            end = self._open.end.find(self._held, len(self._open.form.mark))
            return end is not None and self._close(end)
        if self._after_call:
            self._held = self._between.sub("", self._held, count=1)
        found = self._next_mark()
        if found is None:
            self._show_safe()
            return False
        return self._enter(found)

    def _next_mark(self) -> re.Match[str] | None:
        if self._said:
            return self._later.search(self._held)
        found = self._always.search(self._held)
        form = self._forms.get(found[0]) if found else None
        if found and form and form.first and self._held[: found.start()].strip():
            return self._later.search(self._held)
        return found

    def _enter(self, found: re.Match[str]) -> bool:
        """Show what stands before a mark, and begin with what it opens."""
        form = self._forms.get(found[0])
        before, self._held = self._held[: found.start()], self._held[found.start() :]
        if form is None:
            self._show(before)
            self._held = self._held[len(found[0]) :]
            return True
        self._blank = before[len(before.rstrip()) :]
        self._show(before.rstrip())
        self._open = _Open(form, form.end())
        return True

    def _close(self, end: int) -> bool:
        """Read the open call, which takes ``end`` characters of what is held."""
        assert self._open
        form, self._open = self._open.form, None
        whole, self._held = self._held[:end], self._held[end:]
        try:
            found = list(form.read(whole if form.first else whole[len(form.mark) :], self._tools))
        except (Malformed, NoCall) as error:
            self.malformed |= isinstance(error, Malformed)
            self._show(self._blank + whole)
            return True
        for one in found:
            function = ToolFunction(one.function.name, one.function.arguments, self._count)
            self._calls.append(ToolCall(function, one.id))
            self._count += 1
        self._after_call = True
        return True

    def _close_at_the_end(self) -> bool:
        return self._open is not None and self._close(len(self._held))

    def _show_safe(self) -> None:
        """Show what cannot be part of a mark, nor blank space before one."""
        marks = self._later if self._said else self._always
        safe = len(self._held) - marks.partial(self._held)
        shown = self._held[:safe].rstrip()
        self._held = self._held[len(shown) :]
        self._show(shown)

    def _show(self, text: str) -> None:
        if text:
            self._content.append(text)
            self._after_call = False
            self._said = self._said or bool(text.strip())
