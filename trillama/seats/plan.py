"""The rows of one step, and how its prompt tokens are divided among the jobs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..engine.base import Batch
from ..engine.budget import Load
from .seat import Seat

AGEING = 64
"""Prompt tokens of advantage a prefilling job gains per step over shorter newcomers."""


@dataclass(slots=True)
class Plan:
    """The rows of one step: the new tokens of ``heads``, mostly one each, then prompt chunks."""

    heads: list[Seat]
    chunks: list[tuple[Seat, int]]

    @property
    def new_tokens(self) -> int:
        """Rows of heads."""
        return sum(seat.pending for seat in self.heads)

    @property
    def prompt_tokens(self) -> int:
        """Prompt rows of the step."""
        return sum(count for _, count in self.chunks)

    def load(self, cells: int) -> Load:
        """What the budget learns from; ``cells`` of the pool are in use."""
        begun = sum(seat.place.length * count for seat, count in self.chunks)
        depth = begun / self.prompt_tokens if self.chunks else 0.0
        seen = sum(seat.place.length for seat in self.heads)
        return Load(self.new_tokens, seen, len(self.chunks), depth, cells)

    def __bool__(self) -> bool:
        return bool(self.heads or self.chunks)

    @property
    def seats(self) -> list[Seat]:
        """Everybody in the step."""
        return self.heads + [seat for seat, _ in self.chunks]

    @property
    def sampled(self) -> list[Seat]:
        """Those who get a token, in the order of their logits."""
        return self.heads + [seat for seat, count in self.chunks if seat.remaining == count]

    def fill(self, batch: Batch) -> None:
        """Write the rows; logits are wanted for heads and for prompts that end here."""
        batch.clear()
        if self.new_tokens == len(self.heads):
            batch.add_heads(
                [seat.fresh[-1] for seat in self.heads],
                [seat.place.length for seat in self.heads],
                [seat.place.id for seat in self.heads],
            )
        else:
            for seat in self.heads:
                run = np.array(seat.fresh[-seat.pending :], np.int32)
                batch.add_run(seat.place.id, seat.place.length, run)
                batch.want_last()
        for seat, count in self.chunks:
            start = seat.place.length
            batch.add_run(seat.place.id, start, seat.known[start : start + count])
            if start + count == len(seat.known):
                batch.want_last()


def load_of(heads: list[Seat], waiting: list[Seat], cells: int) -> Load:
    """What the budget chooses by: who generates, whose prompt waits, ``cells`` in use."""
    seen = sum(seat.place.length for seat in heads)
    depth = sum(seat.place.length for seat in waiting) / len(waiting)
    rows = sum(seat.pending for seat in heads)
    return Load(rows, seen, len(waiting), depth, cells)


def divide(seats: list[Seat], budget: int, step: int) -> list[tuple[Seat, int]]:
    """Give prompt tokens of one step to prefilling seats.

    The shortest remaining prompt goes first, because it starts to answer soonest; every step of
    waiting counts like :data:`AGEING` tokens less, so that nobody waits for ever.
    """
    chunks: list[tuple[Seat, int]] = []
    for seat in sorted(seats, key=lambda s: s.remaining - AGEING * (step - s.admitted_step)):
        count = min(seat.remaining, budget)
        if count > 0:
            chunks.append((seat, count))
            budget -= count
    return chunks
