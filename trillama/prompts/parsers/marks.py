"""Finding fixed strings in text that grows."""

from __future__ import annotations

import re
from collections.abc import Iterable


class Marks:
    """Some strings to look for; where several begin at one place, the longest counts."""

    def __init__(self, marks: Iterable[str]) -> None:
        longest_first = sorted(set(marks), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._beginnings = frozenset(
            mark[:length] for mark in longest_first for length in range(1, len(mark))
        )
        self._longest = max(map(len, self._beginnings), default=0)

    def search(self, text: str) -> re.Match[str] | None:
        """The first of them in ``text``."""
        return self._pattern.search(text)

    def partial(self, text: str) -> int:
        """Length of the longest end of ``text`` that one of them may begin with."""
        for length in range(min(len(text), self._longest), 0, -1):
            if text[-length:] in self._beginnings:
                return length
        return 0
