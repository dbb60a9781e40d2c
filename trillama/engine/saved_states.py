"""What sequences have computed, kept in the host's memory: checkpoints, and what was evicted.

Pure, used by the books of ``kv`` and ``seats``. An entry is the library's own image of a sequence
(``Context.save``) with the tokens it stands for. Where a memory can be cut, an entry serves every
prompt that begins like it; a recurrent state is of use only where the prompt goes on at its very
end. What was used least recently is given up for the budget's sake.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass

import numpy as np

from .base import Image
from .prefix_tree import Tokens, common_length

MIN_SAVED = 256
"""Tokens that saving a sequence which can be cut, or restoring it, has to be worth."""
HEAD = 16
"""Tokens by which entries are looked up; shorter ones are not kept."""


@dataclass(eq=False, slots=True)
class Saved:
    """One sequence's image, and the tokens of its positions."""

    key: str
    tokens: Tokens
    image: Image

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return self.image.nbytes + self.tokens.nbytes

    @property
    def group(self) -> tuple[str, bytes]:
        """Entries that might have a prefix in common."""
        return _group(self.key, self.tokens)


def _group(key: str, tokens: Tokens) -> tuple[str, bytes]:
    return key, tokens[:HEAD].tobytes()


class SavedStates:
    """Images within a budget.

    Args:
        budget: bytes; 0 keeps nothing.
        whole: images are states that cannot be cut.

    Attributes:
        used: bytes taken.
        dropped: entries given up, since the start.
        restored: tokens that needed no computing, since the start.
    """

    def __init__(self, budget: int, *, whole: bool) -> None:
        self.budget = budget
        self.used = self.dropped = self.restored = 0
        self._bytes_per_token = 0.0
        self._whole = whole
        self._entries: OrderedDict[int, Saved] = OrderedDict()
        self._groups: defaultdict[tuple[str, bytes], dict[int, Saved]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<SavedStates {len(self)} of {self.used}/{self.budget} bytes>"

    def match(self, key: str, tokens: Tokens) -> tuple[Saved | None, int]:
        """The entry that saves most of ``tokens``, and how many; (None, 0) if none does."""
        best, longest = None, 0
        group = _group(key, tokens)
        for saved in self._groups[group].values() if group in self._groups else ():
            same = self._same(saved.tokens, tokens) if len(saved.tokens) > longest else 0
            if same > longest:
                best, longest = saved, same
        return best, longest

    def _same(self, saved: Tokens, tokens: Tokens) -> int:
        if not self._whole:
            return common_length(saved, tokens)
        end = len(saved)
        fits = end <= len(tokens) and saved[-1] == tokens[end - 1]
        return end if fits and np.array_equal(saved, tokens[:end]) else 0

    def holds(self, key: str, tokens: Tokens) -> bool:
        """Whether another image of ``tokens`` would be of no use."""
        return self.match(key, tokens)[1] == len(tokens)

    def beyond(self, key: str, tokens: Tokens, matched: int) -> tuple[Saved | None, int]:
        """``match``, if it is worth more than ``matched`` tokens held anyway; (None, 0) if not."""
        found = self.match(key, tokens)
        return found if found[1] >= matched + MIN_SAVED else (None, 0)

    def wants(self, key: str, tokens: Tokens) -> bool:
        """Whether an image of ``tokens``, which can be cut, would be kept and of use."""
        long = len(tokens) >= MIN_SAVED
        return long and self.fits(len(tokens)) and not self.holds(key, tokens)

    def fits(self, count: int) -> bool:
        """Whether an image of so many tokens can be kept, as far as former ones tell."""
        return count * self._bytes_per_token < self.budget

    def use(self, saved: Saved, count: int) -> None:
        """Note that ``count`` tokens were restored from an entry."""
        self.restored += count
        if id(saved) in self._entries:
            self._entries.move_to_end(id(saved))

    def put(self, key: str, tokens: Tokens, image: Image) -> None:
        """Keep an image, giving up others for it; nothing is kept of one beyond the budget."""
        saved = Saved(key, tokens.copy(), image)
        self._bytes_per_token = saved.size / max(1, len(tokens))
        if len(tokens) < HEAD or not len(image) or saved.size > self.budget:
            return
        if not self._whole:
            self._forget_prefixes(saved)
        while self.used + saved.size > self.budget:
            self._drop(next(iter(self._entries.values())))
        self._entries[id(saved)] = self._groups[saved.group][id(saved)] = saved
        self.used += saved.size

    def _forget_prefixes(self, saved: Saved) -> None:
        """Drop entries for which the longer one serves as well."""
        for other in list(self._groups.get(saved.group, {}).values()):
            if common_length(other.tokens, saved.tokens) == len(other.tokens):
                self._drop(other)

    def clear(self) -> None:
        """Forget everything."""
        for saved in list(self._entries.values()):
            self._drop(saved)

    def _drop(self, saved: Saved) -> None:
        del self._entries[id(saved)]
        group = self._groups[saved.group]
        del group[id(saved)]
        if not group:
            del self._groups[saved.group]
        self.used -= saved.size
        self.dropped += 1

    def check(self) -> None:
        """Verify the sum and the index."""
        assert self.used == sum(saved.size for saved in self._entries.values())
        assert sum(map(len, self._groups.values())) == len(self)
        assert self.used <= self.budget or not self.used
