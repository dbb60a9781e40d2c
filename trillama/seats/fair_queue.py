"""Weighted fair queueing: who is next, where clients of unequal appetite share one engine.

Each client has a share of the engine's work, measured in tokens. A virtual clock advances with the
work handed out, the slower the more clients there are, so it shows what a client that always had
something to do would have got by now. An item's virtual finish is when its client would have been
given all of it; items are taken in the order in which they would have to begin for that. Nobody
starves: the clock passes every finish, whoever comes later begins behind it.

Source: Demers, Keshav, Shenker, "Analysis and simulation of a fair queueing algorithm" (1989).
Pure; costs are estimates that ``settle`` corrects.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


@dataclass(eq=False, slots=True)
class _Flow:
    """What one client has in hand.

    Attributes:
        finish: virtual time up to which its work was counted.
        held: its items that wait or are being worked on.
    """

    key: Hashable
    weight: float
    finish: float = 0.0
    held: int = 0


@dataclass(slots=True)
class _Entry(Generic[T]):
    rank: tuple[float, int]
    item: T
    flow: _Flow
    cost: float


class FairQueue(Generic[T]):
    """Items that wait, in the order in which they are to be taken."""

    def __init__(self) -> None:
        self._waiting: list[_Entry[T]] = []
        self._entries: dict[T, _Entry[T]] = {}
        self._flows: dict[Hashable, _Flow] = {}
        self._clock = 0.0
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[T]:
        return iter([entry.item for entry in self._waiting])

    def __repr__(self) -> str:
        return f"<FairQueue {len(self)} waiting of {len(self._flows)} clients>"

    def put(self, item: T, client: Hashable, cost: float, weight: float = 1.0) -> None:
        """Let ``item`` wait.

        Args:
            client: whose it is; always with the same weight.
            cost: tokens of work it is expected to be.
            weight: the client's share beside others'.
        """
        flow = self._flows.setdefault(client, _Flow(client, weight))
        flow.finish = max(flow.finish, self._clock) + cost / weight
        flow.held += 1
        entry = _Entry((flow.finish - cost, next(self._numbers)), item, flow, cost)
        self._entries[item] = entry
        insort(self._waiting, entry, key=lambda entry: entry.rank)

    def take(self, item: T) -> None:
        """Begin to work on an item that waits, mostly the first; ``settle`` ends it."""
        self._waiting.remove(self._entries[item])
        if not self._waiting:  # where nobody has to wait nobody gets ahead
            self._advance(max(flow.finish for flow in self._flows.values()))

    def drop(self, item: T) -> None:
        """Forget an item that waits; it costs its client nothing."""
        self._waiting.remove(self._entries[item])
        self.settle(item, 0.0)

    def settle(self, item: T, cost: float) -> None:
        """An item is over and was ``cost`` tokens of work."""
        entry = self._entries.pop(item)
        flow = entry.flow
        flow.finish += (cost - entry.cost) / flow.weight
        flow.held -= 1
        self._advance(self._clock + cost / sum(flow.weight for flow in self._flows.values()))

    def _advance(self, clock: float) -> None:
        """Go on to ``clock``; forget who has nothing in hand and nothing to make up for."""
        self._clock = max(self._clock, clock)
        for flow in list(self._flows.values()):
            if not flow.held and flow.finish <= self._clock:
                del self._flows[flow.key]
