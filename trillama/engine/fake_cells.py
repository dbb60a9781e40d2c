"""A model of llama.cpp's unified KV cache in plain Python: cells, owners, positions.

Owned by a ``FakeContext``. A cell keeps what a real one keeps in its keys and values: its token
and, as a hash, everything that was visible when it was computed. So a prefix taken from the wrong
sequence, a hole or a forgotten shift changes what is generated, as it would on a real model.

Facts: llama.cpp src/llama-kv-cache.cpp (seq_rm, seq_cp, seq_add act on cells; a cell shared by
several sequences has one position, and moving it moves it for all of them).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from trillama.base.adapters import Adapters
from trillama.base.errors import EngineError

from .base import Image
from .fake_vocab import SPELLED


@dataclass(slots=True, eq=False)
class Cell:
    """One position's keys and values.

    Attributes:
        content: hash of the token, of what it was computed with, and of all the sequence saw then.
        adapters: what it was computed with.
        owners: sequences that see the cell; it is free once there are none.
    """

    token: int
    position: int
    content: int
    owners: set[int]
    adapters: Adapters = ()


@dataclass(slots=True, eq=False)
class History:
    """What a sequence sees, in the order of positions. Scripts read it and change nothing.

    Attributes:
        tokens: token of every visible cell.
        text: their bytes, specials spelled out.
        digest: hash over the contents of and the gaps between the visible cells.
        coherent: False if some cell was computed in another context than it is seen in now, or with
            other adapters than the newest.
    """

    tokens: list[int] = field(default_factory=list)
    text: bytearray = field(default_factory=bytearray)
    digest: int = 0
    coherent: bool = True
    last: int = -1
    adapters: Adapters = ()
    _matched: dict[tuple[bytes, int], tuple[int, int]] = field(default_factory=dict)

    def content_of(self, token: int, adapters: Adapters) -> int:
        """Content of a cell computed for ``token`` right after this history."""
        return hash((self.digest, token, adapters) if adapters else (self.digest, token))

    def see(self, cell: Cell) -> None:
        """Append ``cell``, whose position lies after all others."""
        gap = cell.position - self.last
        stray = bool(self.tokens) and cell.adapters != self.adapters
        if gap != 1 or stray or cell.content != self.content_of(cell.token, cell.adapters):
            self.coherent = False
        self.adapters = cell.adapters
        self.digest = hash((self.digest, cell.content, gap))
        self.last = cell.position
        self.tokens.append(cell.token)
        self.text += SPELLED[cell.token]

    def matched(self, pattern: bytes, start: int) -> int:
        """Length of the longest prefix of ``pattern`` that ends ``text[start:]``.

        Costs O(new bytes) when asked again after the history has grown.
        """
        at, state = self._matched.get((pattern, start), (start, 0))
        for byte in self.text[at:]:
            state = _longer(pattern, state, byte)
        self._matched[pattern, start] = max(start, len(self.text)), state
        return state


@lru_cache(maxsize=1024)
def _borders(pattern: bytes) -> list[int]:
    """Knuth-Morris-Pratt table: longest proper border of every prefix of ``pattern``."""
    table = [0, 0]
    for at in range(1, len(pattern)):
        state = table[at]
        while state and pattern[state] != pattern[at]:
            state = table[state]
        table.append(state + (pattern[state] == pattern[at]))
    return table


def _longer(pattern: bytes, state: int, byte: int) -> int:
    table = _borders(pattern)
    while state and (state == len(pattern) or pattern[state] != byte):
        state = table[state]
    return state + 1 if pattern[state : state + 1] == bytes((byte,)) else 0


class CellPool:
    """All cells of a context and which sequence sees which.

    Attributes:
        size: cells there are.
        used: cells owned by at least one sequence.
    """

    def __init__(self, size: int, sequences: int) -> None:
        self.size = size
        self.used = 0
        self._torn = False
        self._held: list[dict[int, Cell]] = [{} for _ in range(sequences)]
        self._histories: list[History | None] = [History() for _ in range(sequences)]

    @property
    def free(self) -> int:
        """Cells nobody owns."""
        return self.size - self.used

    def history(self, sequence: int) -> History:
        """What ``sequence`` sees now; read from its cells again after anything but appending."""
        history = self._histories[sequence]
        if history is None:
            history = History()
            held = self._held[sequence]
            for position in sorted(held):
                history.see(held[position])
            self._histories[sequence] = history
        return history

    def append(self, sequence: int, token: int, position: int, adapters: Adapters = ()) -> History:
        """Compute one cell; the caller has checked that there is room."""
        history = self.history(sequence)
        cell = Cell(token, position, history.content_of(token, adapters), {sequence}, adapters)
        if self._torn:
            cell.content = hash((cell.content, "torn"))
        self._held[sequence][position] = cell
        self.used += 1
        history.see(cell)
        return history

    def copy(self, source: int, target: int, start: int, end: float) -> None:
        """Let ``target`` see the cells of ``source`` at positions [start, end)."""
        mine = self._held[target]
        for position, cell in self._held[source].items():
            if start <= position < end and mine.get(position) is not cell:
                if position in mine:
                    raise EngineError(f"sequence {target} would hold position {position} twice")
                mine[position] = cell
                cell.owners.add(target)
        self._histories[target] = None

    def duplicate(self, source: int, target: int) -> None:
        """Give ``target`` cells of its own like those of ``source``, in place of what it saw."""
        self.remove(target, 0, float("inf"))
        for position, cell in self._held[source].items():
            copy = Cell(cell.token, cell.position, cell.content, {target}, cell.adapters)
            self._held[target][position] = copy
            self.used += 1
        self._histories[target] = None

    def remove(self, sequence: int, start: int, end: float) -> None:
        """Take [start, end) from what ``sequence`` sees."""
        held = self._held[sequence]
        for position in [at for at in held if start <= at < end]:
            owners = held.pop(position).owners
            owners.remove(sequence)
            self.used -= not owners
            self._histories[sequence] = None

    def shift(self, sequence: int, start: int, end: float, delta: int) -> None:
        """Move the cells of ``sequence`` at [start, end), for everyone who sees them.

        A cell moved below position 0 is dropped.
        """
        moved = [cell for at, cell in self._held[sequence].items() if start <= at < end]
        owners = set[int]().union(*(cell.owners for cell in moved))
        for cell in moved:
            cell.position += delta
            if cell.position < 0:
                cell.owners.clear()
                self.used -= 1
        for owner in owners:
            self._index_again(owner)

    def _index_again(self, owner: int) -> None:
        cells = [cell for cell in self._held[owner].values() if owner in cell.owners]
        self._held[owner] = {cell.position: cell for cell in cells}
        self._histories[owner] = None
        if len(self._held[owner]) != len(cells):
            raise EngineError(f"sequence {owner} would hold a position twice after a shift")

    def save(self, sequence: int) -> Image:
        """What ``sequence`` sees, as bytes."""
        held = sorted(self._held[sequence].items())
        rows = [(cell.token, position, cell.content) for position, cell in held]
        return np.array(rows, np.int64).reshape(-1).view(np.uint8)

    def restore(self, sequence: int, image: Image) -> bool:
        """Give ``sequence`` cells of its own as they were saved; False where there is no room."""
        rows = image.view(np.int64).reshape(-1, 3).tolist()
        if len(rows) > self.free or self._held[sequence]:
            return False
        for token, position, content in rows:
            self._held[sequence][position] = Cell(token, position, content, {sequence})
        self.used += len(rows)
        self._histories[sequence] = None
        return True

    def tear(self) -> None:
        """Leave nothing of what was computed as it was, nor what is from now on until ``clear``."""
        self._torn = True
        for sequence, held in enumerate(self._held):
            self._histories[sequence] = None
            for cell in held.values():
                cell.content = hash((cell.content, "torn"))

    def clear(self) -> None:
        """Drop every cell."""
        for sequence in range(len(self._held)):
            self._held[sequence] = {}
            self._histories[sequence] = None
        self.used = 0
        self._torn = False
