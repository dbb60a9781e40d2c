"""What people read: sizes, ages, tables and wrapped text, in Ollama's formats.

Pure functions, except that ``Wrapper`` writes to the stream it is given.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

CELL_GAP = "    "
WRAP_MARGIN = 5
MIN_WRAP_WIDTH = 10
FOREVER_YEARS = 20


def human_bytes(count: int) -> str:
    """Decimal size: ``999 B``, ``1.0 KB``, ``274 MB``, ``4.7 GB``."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if count >= unit:
            value = count / unit
            if value >= 10:
                return f"{int(value)} {name}"
            return f"{value:.1f} {name}" if count % unit else f"{int(value)} {name}"
    return f"{count} B"


def _span(seconds: float) -> str:
    whole, minutes, hours = int(seconds), int(seconds // 60), round(seconds / 3600)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit, unit, name in ((336, 24, "days"), (1440, 168, "weeks"), (17520, 720, "months")):
        if hours < limit:
            return f"{hours // unit} {name}"
    return f"{int(seconds / 3600 / 24 / 365)} years"


def human_time(moment: datetime, now: datetime | None = None) -> str:
    """Distance from now: ``2 hours ago``, ``4 minutes from now``, ``Forever``."""
    away = (moment - (now or datetime.now(UTC))).total_seconds()
    if away / 3600 / 24 / 365 > FOREVER_YEARS:
        return "Forever"
    return f"{_span(away)} from now" if away > 0 else f"{_span(-away)} ago"


def display_width(text: str) -> int:
    """Terminal columns of a text; wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table without borders: columns padded to the widest cell, four spaces between them.

    As in Ollama, every body cell is followed by the gap, the last header by one space only.
    """
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(display_width(cell) for cell in column) for column in columns]

    def padded(cells: Sequence[str]) -> list[str]:
        return [
            cell + " " * (width - display_width(cell))
            for cell, width in zip(cells, widths, strict=True)
        ]

    lines = [CELL_GAP.join(padded(headers)) + " "]
    lines += [CELL_GAP.join(padded(row)) + CELL_GAP for row in rows]
    return "".join(f"{line}\n" for line in lines)


def json_text(records: Sequence[dict[str, Any]]) -> str:
    """Records as JSON that people can read too."""
    return json.dumps(records, indent=2, ensure_ascii=False) + "\n"


class Wrapper:
    """Writes text that arrives in pieces, moving a word that would overflow to the next line.

    Args:
        out: a terminal.
        width: its columns; below 10 nothing is wrapped.
    """

    def __init__(self, out: TextIO, width: int) -> None:
        self._out = out
        self._width = width
        self._column = 0
        self._word = ""

    def write(self, text: str) -> None:
        """Write a piece and flush."""
        if self._width < MIN_WRAP_WIDTH:
            self._out.write(text)
        else:
            for char in text:
                self._put(char)
        self._out.flush()

    def style(self, code: str) -> None:
        """Write an escape sequence, which takes no column."""
        self._out.write(code)

    def _put(self, char: str) -> None:
        width = display_width(char)
        if char != "\n" and self._column + width > self._width - WRAP_MARGIN:
            self._break(char)
            return
        self._out.write(char)
        self._column = 0 if char == "\n" else self._column + width
        self._word = "" if char in " \t\n" or width > 1 else self._word + char

    def _break(self, char: str) -> None:
        """Take the unfinished word back and write it again on a new line."""
        if not self._word or display_width(self._word) > self._width - MIN_WRAP_WIDTH:
            self._out.write("\n" if char == " " else f"\n{char}")
            self._word = "" if char == " " else char
            self._column = display_width(self._word)
        else:
            self._out.write(f"\x1b[{display_width(self._word)}D\x1b[K\n{self._word}{char}")
            self._column = display_width(self._word + char)
            self._word = "" if char in " \t" else self._word + char
