"""The rows of one step, and how its prompt tokens are divided among the jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..base.adapters import Adapters
from ..engine.base import Batch
from ..engine.budget import BRIEF, Load
from .seat import Seat

AGEING = 64
"""Prompt tokens of advantage a prefilling job gains per step over shorter newcomers."""

REMNANT = 8
"""A chunk grows by up to one in so many of its tokens where that ends its prompt: what would be
left costs an execution of its own, which on a GPU takes as long for 20 tokens as for 100."""

WHOLE = 3
"""The same in parts of the whole step, for prompts that begin and are computed apart."""

_by_id = attrgetter("sequence.id")

_FILLER = [0]
"""Any token will do: nobody looks at what it leads to."""


class Run(NamedTuple):
    """Rows of one sequence in a step; ``wanted``: of so many, the last ones, logits."""

    sequence: int
    start: int
    tokens: list[int] | npt.NDArray[np.int32]
    wanted: int


@dataclass(slots=True)
class Plan:
    """The rows of one step: the new tokens of ``heads``, mostly one each, and prompt chunks.

    All of them are of jobs with the same adapters, see ``Rota``.

    Attributes:
        by_sequence: rows go by their sequence ids, which must be so where each has cells of its
            own; otherwise heads come first.
        drafts: guesses at what heads say next, computed behind their new tokens.
    """

    heads: list[Seat]
    chunks: list[tuple[Seat, int]]
    by_sequence: bool = False
    drafts: dict[Seat, list[int]] = field(default_factory=dict)

    @property
    def new_tokens(self) -> int:
        """Rows of heads, guesses among them."""
        guesses = sum(map(len, self.drafts.values())) if self.drafts else 0
        return sum([seat.pending for seat in self.heads]) + guesses

    @property
    def adapters(self) -> Adapters:
        """What the rows are computed with."""
        first = self.heads[0] if self.heads else self.chunks[0][0]
        return first.job.adapters

    @property
    def prompt_tokens(self) -> int:
        """Prompt rows of the step."""
        return sum(count for _, count in self.chunks)

    def load(self, cells: int) -> Load:
        """What the budget learns from; ``cells`` of the pool are in use."""
        if self.by_sequence:  # rows of one execution all pay for the longest sequence
            depth = max((float(seat.place.length) for seat, _ in self.chunks), default=0.0)
            seen = len(self.heads) * max((seat.place.length for seat in self.heads), default=0)
        else:
            begun = sum(seat.place.length * count for seat, count in self.chunks)
            depth = begun / self.prompt_tokens if self.chunks else 0.0
            seen = sum(seat.place.length for seat in self.heads)
        return Load(self.new_tokens, seen, len(self.chunks), depth, cells)

    def parts(self, worth: float) -> list[Plan]:
        """Plans to be carried out one after the other, cheaper than all rows at once.

        Where sequences have cells of their own, rows computed together all pay for the longest
        sequence among them, and prompts need another execution of the graph anyhow.

        Args:
            worth: cells a row may pay for at the price of another execution.
        """
        if not self.by_sequence or self.drafts:
            return [self]
        heads = [(seat, seat.pending) for seat in self.heads]
        return [
            *(Plan([seat for seat, _ in part], [], True) for part in alike(heads, worth)),
            *(Plan([], part, True) for part in alike(self.chunks, worth)),
        ]

    def __bool__(self) -> bool:
        return bool(self.heads or self.chunks)

    def forget_departed(self) -> None:
        """Leave out whoever lost their sequence while an earlier part was computed."""
        self.heads = [seat for seat in self.heads if seat.sequence is not None]
        self.chunks = [(seat, count) for seat, count in self.chunks if seat.sequence is not None]

    @property
    def seats(self) -> list[Seat]:
        """Everybody in the step."""
        return self.heads + [seat for seat, _ in self.chunks]

    def fill(self, batch: Batch, fillers: Sequence[tuple[int, int]] = ()) -> list[Seat]:
        """Write the rows; logits are wanted for heads and for prompts that end here.

        Args:
            fillers: sequences that get a row for the others' sake, and where.

        Returns:
            those who get a token, in the order of their logits; a draft brings rows of its own.
        """
        batch.clear()
        sampled = self.heads + [seat for seat, count in self.chunks if seat.remaining == count]
        if self.by_sequence:
            sampled.sort(key=_by_id)
        if not (self.chunks or fillers) and len(self.heads) == self.new_tokens:
            places = [seat.place for seat in sampled]  # one row each: no runs need be made
            tokens = [seat.fresh[-1] for seat in sampled]
            batch.add_heads(tokens, [at.length for at in places], [at.id for at in places])
            return sampled
        runs = [*self._runs(), *(Run(at, start, _FILLER, 0) for at, start in fillers)]
        if self.by_sequence:
            runs.sort(key=lambda run: run.sequence)
        for run in runs:
            batch.add_run(run.sequence, run.start, np.asarray(run.tokens, np.int32))
            if run.wanted:
                batch.want_last(run.wanted)
        return sampled

    def _runs(self) -> Iterator[Run]:
        for seat in self.heads:
            draft = self.drafts.get(seat, [])
            tokens = seat.fresh[-seat.pending :] + draft
            yield Run(seat.place.id, seat.place.length, tokens, 1 + len(draft))
        for seat, count in self.chunks:
            start = seat.place.length
            known = seat.known[start : start + count]
            yield Run(seat.place.id, start, known, int(start + count == len(seat.known)))


def alike(rows: list[tuple[Seat, int]], worth: float) -> list[list[tuple[Seat, int]]]:
    """Group seats, each with its number of rows, by the lengths of their sequences.

    A group is closed where its rows would pay more for the next, longer sequence than ``worth``.
    """
    lengths = [seat.place.length for seat, _ in rows]
    if rows and sum([count for _, count in rows]) * (max(lengths) - min(lengths)) <= worth:
        return [rows]
    groups: list[list[tuple[Seat, int]]] = []
    total = longest = 0
    for seat, count in sorted(rows, key=lambda row: row[0].place.length):
        length = seat.place.length
        if not groups or total * (length - longest) > worth:
            groups.append([])
            total = 0
        groups[-1].append((seat, count))
        total, longest = total + count, length
    return groups


def load_of(plan: Plan, waiting: list[Seat], cells: int, worth: float) -> Load:
    """What the budget chooses by: who generates, whose prompt waits, ``cells`` in use."""
    parts = [part.load(cells) for part in plan.parts(worth)]
    depth = sum(seat.place.length for seat in waiting) / len(waiting)
    seen = sum(part.seen for part in parts)
    brief = sum(seat.remaining for seat in waiting if len(seat.known) <= BRIEF)
    return Load(plan.new_tokens, seen, len(waiting), depth, cells, max(1, len(parts)), brief)


def divide(
    seats: list[Seat], budget: int, step: int, most: int, *, apart: bool = False
) -> list[tuple[Seat, int]]:
    """Give prompt tokens of one step to prefilling seats.

    The shortest remaining prompt goes first, because it starts to answer soonest; every step of
    waiting counts like :data:`AGEING` tokens less, so that nobody waits for ever.

    Args:
        budget: tokens wanted; the last chunk may go beyond it, see :data:`REMNANT`.
        step: number of the step.
        most: tokens there is room for.
        apart: each prompt costs an execution of its own; none is begun only to be cut that the next
            step could compute as a whole.
    """
    chunks: list[tuple[Seat, int]] = []
    left = budget
    for seat in sorted(seats, key=lambda s: s.remaining - AGEING * (step - s.admitted_step)):
        count = min(seat.reach, left)
        if count <= 0:
            continue
        begins = apart and seat.place.length <= seat.cached
        more = max(count // REMNANT, budget // WHOLE if begins else 0)
        if seat.reach <= min(count + more, most):
            count = seat.reach
        elif apart and chunks and seat.reach <= budget:
            break
        chunks.append((seat, count))
        left -= count
        most -= count
    return chunks
