"""Which guesses a step computes beside the tokens it must, and what is learned from them.

Owned by ``batching``. Guesses never change an answer: each row is sampled as it would have been
without them, and the first one that another token comes out for ends the run. So all there is to
decide is whether they pay; see ``engine.draft_lengths``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..engine.base import ContextLimits
from ..engine.budget import Load, StepBudget
from ..engine.draft_lengths import RowPrice, Trust, share_out
from ..engine.drafts import PromptLookup
from .plan import Plan
from .seat import Seat

MOST_DRAFTED = 31
"""Guesses for one answer in a step: with the row there is anyhow, half of llama.cpp's tile."""


@dataclass(slots=True)
class Guesser:
    """What guesses for one answer come from, and how far they are trusted."""

    lookup: PromptLookup = field(default_factory=PromptLookup)
    trust: Trust = field(default_factory=Trust)


class Speculation:
    """Adds guesses to plans.

    Args:
        limits: of the context.
        budget: asked what rows cost.
        on: whether to guess at all.
    """

    def __init__(self, limits: ContextLimits, budget: StepBudget, *, on: bool = True) -> None:
        self._on = on and not limits.memory.stateful  # a state cannot be taken back
        self._limits = limits
        self._budget = budget
        self._price = RowPrice()
        self._guessers: dict[Seat, Guesser] = {}
        self._expected = (0.0, 0.0)

    def add(self, plan: Plan, free: int, cells: int) -> None:
        """Add guesses to a plan that only generates, if they pay.

        Args:
            free: cells that are left beside the plan's rows.
            cells: cells in use.
        """
        several = self._limits.separate and len(plan.heads) > 1  # unlike rows need more executions
        room = min(self._limits.outputs - len(plan.heads), self._limits.batch - plan.new_tokens)
        room = min(room, free)
        if not self._on or not plan.heads or plan.chunks or several or room <= 0:
            return
        step, row = self._prices(plan, cells)
        able = [seat for seat in plan.heads if most_drafted(seat) > 0]
        if not able or not share_out([0.999], [room], len(plan.heads), (step, row))[0]:
            self._price.rest()
            return
        drafts = {seat: draft for seat in able if (draft := self._guess(seat, room))}
        if not drafts:
            return
        counts = self._counts(drafts, len(plan.heads), room, (step, row))
        plan.drafts = {
            seat: draft[:count]
            for (seat, draft), count in zip(drafts.items(), counts, strict=True)
            if count
        }
        self._expected = (step, row)

    def _prices(self, plan: Plan, cells: int) -> tuple[float, float]:
        """Nanoseconds of the plan as it is, and of each row more."""
        load = plan.load(cells)
        rows = max(load.generating, 1)
        more = Load(rows + 1, load.seen * (rows + 1) / rows, load.waiting, load.depth, cells)
        step = self._budget.predict_ns(load, 0)
        return step, max(self._budget.predict_ns(more, 0) - step, 1.0) * self._price.factor

    def _guess(self, seat: Seat, room: int) -> list[int]:
        guesser = self._guessers.get(seat)
        if guesser is None:
            guesser = self._guessers[seat] = Guesser()
        guesser.lookup.follow(seat.known, seat.fresh)
        return guesser.lookup.propose(min(most_drafted(seat), room))

    def _counts(
        self, drafts: dict[Seat, list[int]], heads: int, room: int, prices: tuple[float, float]
    ) -> list[int]:
        trusts = [self._guessers[seat].trust for seat in drafts]
        most = [len(draft) for draft in drafts.values()]
        counts = share_out([trust.chance for trust in trusts], most, heads, prices)
        for at, trust in enumerate(trusts):
            counts[at] = min(counts[at], room)
            room -= counts[at]
            if not counts[at]:
                trust.rest()
        return counts

    def learn(self, drafts: dict[Seat, list[int]], elapsed: int) -> None:
        """Learn from a step what its guesses cost, in nanoseconds."""
        step, row = self._expected
        rows = sum(map(len, drafts.values()))
        self._price.learn(elapsed - step, rows * row / self._price.factor)

    def checked(self, seat: Seat, drafted: int, accepted: int) -> None:
        """Of ``drafted`` guesses the first ``accepted`` were right."""
        if guesser := self._guessers.get(seat):
            guesser.trust.learn(accepted, drafted)

    def leave(self, seat: Seat) -> None:
        """Forget a seat."""
        self._guessers.pop(seat, None)


def most_drafted(seat: Seat) -> int:
    """Guesses that may be computed for a seat: none may reach a limit of the answer."""
    wanted = seat.job.options.draft_num_predict
    most = MOST_DRAFTED if wanted < 0 else min(wanted, MOST_DRAFTED)
    return min(most, seat.leeway - 1)
