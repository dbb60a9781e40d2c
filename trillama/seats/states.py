"""Book-keeping of a context whose sequences remember by a state: recurrent and hybrid models.

The counterpart of ``kv``'s pool, with the same methods. A state knows only its present: nothing can
be cut off it, and it is shared only where a prompt goes on at its very end. So sequences are saved
to the host's memory at the points where others may go on: where a prompt forks from one seen
before, before a prompt's last tokens, and where a job ends or has to step back. A prompt begins
with the longest of them; whoever steps back loses nothing.

Facts: llama.cpp src/llama-memory-recurrent.cpp, src/llama-memory-hybrid.cpp (seq_rm, state_read).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..engine.operations import Operation, Remove, Restore, Save
from ..engine.prefix_tree import Tokens
from ..engine.reuse import ReuseForecast
from ..engine.saved_states import Saved, SavedStates
from ..kv import MIN_REUSE, Grant, KVStatistics, Place

TAIL = 8
"""Last tokens of a prompt that are not in its checkpoint: they mark the beginning of an answer,
which templates often write in another way once the answer is there."""
LEAST = 64
"""Shorter beginnings are computed again."""


@dataclass(eq=False, slots=True, kw_only=True)
class StatePlace(Place):
    """A sequence in use; ``stops``: positions where it is to be saved, descending."""

    stops: list[int] = field(default_factory=list)


class StateBook:
    """The sequences of one context.

    Args:
        cells: positions that attention has room for, for all sequences together; of a model
            without attention, what one may have.
        sequences: states there are.
        states: where checkpoints are kept.
        pooled: whether a position costs a cell.
        reuse: share prefixes.
    """

    def __init__(
        self, cells: int, sequences: int, states: SavedStates, *, pooled: bool, reuse: bool = True
    ) -> None:
        self.cells = cells
        self.reuse = reuse and states.budget > 0
        self._states = states
        self._pooled = pooled
        self._free_ids = list(range(sequences - 1, -1, -1))
        self._live: dict[int, StatePlace] = {}
        self._past = ReuseForecast()

    @property
    def used(self) -> int:
        """Positions held."""
        return sum(place.length for place in self._live.values())

    @property
    def free(self) -> int:
        """Positions that live sequences may still take."""
        return self.cells - self.used if self._pooled else self.cells

    def statistics(self) -> KVStatistics:
        """Counts for the metrics and for tests."""
        return KVStatistics(self.cells, self.used, 0, len(self._live), 0, 0)

    def __repr__(self) -> str:
        return f"<StateBook {len(self._live)} live, {self._states!r}>"

    # -- admission ------------------------------------------------------------------------------

    def match(self, key: str, tokens: Tokens) -> int:
        """Leading tokens a new job need not compute now; never all of them."""
        return self._match(key, tokens)[1]

    def _match(self, key: str, tokens: Tokens) -> tuple[Saved | None, int]:
        return self._states.match(key, tokens[:-1]) if self.reuse else (None, 0)

    def admit(self, key: str, tokens: Tokens, headroom: int = 0) -> Grant | None:
        """Give a prompt a sequence, restored to the longest known prefix; None if it has to wait.

        Args:
            key: only jobs admitted under the same key share prefixes.
            tokens: the prompt, shape (n,), n >= 1.
            headroom: positions that must be left over after the prompt.
        """
        if not self._free_ids or (self._pooled and len(tokens) + headroom > self.free):
            return None
        saved, matched = self._match(key, tokens)
        place = StatePlace(id=self._free_ids.pop(), key=key, length=matched, registered=matched)
        self._live[place.id] = place
        if self.reuse:
            self.stop_at(place, len(tokens) - TAIL)
            self.stop_at(place, self._past.known(key, tokens))
            self._past.remember(key, tokens)
        return Grant(place, matched, [Restore(place.id, saved, matched)] if saved else [])

    def stop_at(self, place: Place, position: int) -> None:
        """Save a sequence when it has computed ``position`` tokens, if that is worth it."""
        assert isinstance(place, StatePlace)
        if position >= max(LEAST, place.length + MIN_REUSE) and position not in place.stops:
            place.stops = sorted([*place.stops, position], reverse=True)
            place.stop = place.stops[-1]

    # -- growth ---------------------------------------------------------------------------------

    def grow(self, place: Place, count: int = 1) -> None:
        """Note ``count`` more computed positions."""
        place.length += count

    def register(self, place: Place, tokens: Tokens) -> list[Operation]:
        """Save the sequence where it is to be saved.

        Args:
            tokens: the tokens of at least all computed positions.
        """
        assert isinstance(place, StatePlace)
        operations: list[Operation] = []
        while place.stops and place.stops[-1] <= place.length:
            if place.stops.pop() == place.length:
                operations += self._save(place, tokens)
        place.stop = place.stops[-1] if place.stops else 0
        return operations

    def _save(self, place: Place, tokens: Tokens) -> list[Operation]:
        held = tokens[: place.length]
        if place.length < LEAST or self._states.holds(place.key, held):
            return []
        return [Save(place.id, place.key, held)]

    def shift(self, place: Place, keep: int, discard: int) -> list[Operation] | None:
        """A state forgets nothing: the shortened text has to be computed again."""
        return None

    # -- release --------------------------------------------------------------------------------

    def release(self, place: Place, tokens: Tokens) -> list[Operation]:
        """End a job; what it has computed is saved if that can help anyone.

        Args:
            tokens: the tokens of at least all computed positions.
        """
        del self._live[place.id]
        self._free_ids.append(place.id)
        operations: list[Operation] = []
        if self.reuse and not place.shifted:
            self._past.remember(place.key, tokens[: place.length])
            operations += self._save(place, tokens)
        return [*operations, Remove(place.id)]

    def expect(self, key: str, prompt: Tokens) -> None:
        """Nothing is learned from prompts that wait."""

    def trim(self) -> list[Operation]:
        """Nothing has to go for the sake of speed."""
        return []

    def make_room(self, need: int) -> list[Operation]:
        """Nothing is cached in the cells."""
        return []

    def drop_holders(self) -> list[Operation]:
        """Nothing is cached in the cells."""
        return []

    def check(self) -> None:
        """Verify that the places tell a sound story."""
        assert all(place.id == at for at, place in self._live.items())
        assert not set(self._free_ids) & self._live.keys()
        assert not self._pooled or 0 <= self.used <= self.cells
        for place in self._live.values():
            assert place.stop == (place.stops[-1] if place.stops else 0)
