"""Which guesses a step computes beside the tokens it must, and what is learned from them.

Owned by ``batching``. Guesses never change an answer: each row is sampled as it would have been
without them, and the first one that another token comes out for ends the run. So all there is to
decide is whether they pay; see ``engine.draft_lengths``. What was said before costs nothing to look
up, so a draft model is asked only where there is nothing like it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..engine.base import ContextLimits
from ..engine.budget import LEARN_EVERY, Load, StepBudget
from ..engine.draft_lengths import RowPrice, Trust, share_out
from ..engine.draft_model import FOLLOWED, DraftModel
from ..engine.drafts import PromptLookup
from .memory import Memory
from .plan import Plan
from .seat import Seat

MOST_DRAFTED = 31
"""Guesses for one answer in a step: with the row there is anyhow, half of llama.cpp's tile."""
BEST_CHANCE = 0.999
"""No guess is more likely than this."""


@dataclass(slots=True)
class Guesser:
    """What guesses for one answer come from, and how far they are trusted.

    Attributes:
        by_lookup, by_model: trust in the two sources.
        source: that of the guesses that are being computed.
    """

    lookup: PromptLookup
    by_lookup: Trust = field(default_factory=Trust)
    by_model: Trust = field(default_factory=Trust)
    source: Trust = field(init=False)

    def __post_init__(self) -> None:
        self.source = self.by_lookup


@dataclass(frozen=True, slots=True)
class Terms:
    """On which guesses are computed in a step.

    Attributes:
        sure: tokens it brings without any.
        room: rows there are for them.
        step, row: nanoseconds of the step without any, and of each of them.
    """

    sure: int
    room: int
    step: float
    row: float

    def counts(self, trusts: Sequence[Trust], most: Sequence[int], extra: float = 0.0) -> list[int]:
        """How many are worth it for each answer, where each takes ``extra`` beside its row."""
        chances = [min(trust.chance, BEST_CHANCE) for trust in trusts]
        prices = self.step, self.row + extra
        counts = share_out(chances, most, self.sure, prices, self.room)
        for trust, count in zip(trusts, counts, strict=True):
            if not count:
                trust.rest()
        return counts


class Prices(NamedTuple):
    """What a step costs; asked for again when as much may have been learned.

    Attributes:
        heads: answers it has a token of.
        step, row: nanoseconds of the step without guesses, and of any row more.
        worth: whether a guess can pay at all.
    """

    heads: int
    step: float
    row: float
    worth: bool


class Speculation:
    """Adds guesses to plans.

    Args:
        limits: of the context.
        budget: asked what rows cost.
        on: whether to guess at all.
        model: a draft model.
    """

    def __init__(
        self,
        limits: ContextLimits,
        budget: StepBudget,
        *,
        on: bool = True,
        model: DraftModel[Seat] | None = None,
    ) -> None:
        self._on = on and not limits.memory.stateful  # a state cannot be taken back
        self._limits = limits
        self._budget = budget
        self._model = model
        self._price = RowPrice()
        self._guessers: dict[Seat, Guesser] = {}
        self._prices, self._age = Prices(0, 0.0, 0.0, worth=False), 0

    def add(self, plan: Plan, memory: Memory) -> None:
        """Add guesses to a plan that only generates, if they pay and ``memory`` has room."""
        several = self._limits.separate and len(plan.heads) > 1  # unlike rows need more executions
        if not self._on or not plan.heads or plan.chunks or several:
            return
        room = min(self._limits.batch, memory.free) - plan.new_tokens
        room = min(room, self._limits.outputs - len(plan.heads))
        if room <= 0:
            return
        if self._prices.heads != len(plan.heads) or self._age >= LEARN_EVERY:
            self._prices, self._age = self._ask_prices(plan, memory.used, room), 0
        self._age += 1
        _, step, row, worth = self._prices
        able = [seat for seat in plan.heads if most_drafted(seat) > 0] if worth else []
        if not able:
            self._price.rest()
            return
        terms = Terms(len(plan.heads), room, step, row * self._price.factor)
        plan.drafts = self._looked_up(able, terms)
        if self._model is not None and not plan.drafts and len(plan.heads) <= FOLLOWED:
            plan.drafts = self._modelled(able, terms, self._model)

    def _ask_prices(self, plan: Plan, cells: int, room: int) -> Prices:
        load = plan.load(cells)
        rows = max(load.generating, 1)
        more = Load(rows + 1, load.seen * (rows + 1) / rows, load.waiting, load.depth, cells)
        step = self._budget.predict_ns(load, 0)
        row = max(self._budget.predict_ns(more, 0) - step, 1.0)
        guessed = step, row * self._price.factor
        (likely,) = share_out([BEST_CHANCE], [room], len(plan.heads), guessed, room)
        return Prices(len(plan.heads), step, row, likely > 0)

    def _looked_up(self, able: Sequence[Seat], terms: Terms) -> dict[Seat, list[int]]:
        """What followed in like places, as far as it is worth its rows."""
        drafts: dict[Seat, list[int]] = {}
        for seat in able:
            lookup = self._guesser(seat).lookup
            lookup.follow(seat.known, seat.fresh)
            if draft := lookup.propose(min(most_drafted(seat), terms.room)):
                drafts[seat] = draft
        trusts = [self._guessers[seat].by_lookup for seat in drafts]
        counts = terms.counts(trusts, list(map(len, drafts.values()))) if drafts else []
        return self._cut(drafts, counts, trusts)

    def _modelled(
        self, able: Sequence[Seat], terms: Terms, model: DraftModel[Seat]
    ) -> dict[Seat, list[int]]:
        """What a draft model says, as far as that is worth its rows and the model's own time."""
        trusts = [self._guesser(seat).by_model for seat in able]
        most = [min(most_drafted(seat), terms.room) for seat in able]
        counts = terms.counts(trusts, most, model.token_ns / len(able))
        wanted = {seat: count for seat, count in zip(able, counts, strict=True) if count}
        if not wanted:
            return {}
        texts = {seat: self._guessers[seat].lookup.tokens for seat in wanted}
        drafts = model.propose(texts, max(wanted.values()))
        trusts = [self._guessers[seat].by_model for seat in drafts]
        return self._cut(drafts, [wanted[seat] for seat in drafts], trusts)

    def _cut(
        self, drafts: dict[Seat, list[int]], counts: Sequence[int], trusts: Sequence[Trust]
    ) -> dict[Seat, list[int]]:
        kept: dict[Seat, list[int]] = {}
        for (seat, draft), count, trust in zip(drafts.items(), counts, trusts, strict=True):
            if count:
                kept[seat], self._guessers[seat].source = draft[:count], trust
        return kept

    def _guesser(self, seat: Seat) -> Guesser:
        if seat not in self._guessers:
            self._guessers[seat] = Guesser(PromptLookup(seat.job.prediction))
        return self._guessers[seat]

    def learn(self, drafts: dict[Seat, list[int]], elapsed: int) -> None:
        """Learn from a step what its guesses cost, in nanoseconds."""
        rows = sum(map(len, drafts.values()))
        self._price.learn(elapsed - self._prices.step, rows * self._prices.row)

    def checked(self, seat: Seat, drafted: int, accepted: int) -> None:
        """Of ``drafted`` guesses the first ``accepted`` were right."""
        if guesser := self._guessers.get(seat):
            guesser.source.learn(accepted, drafted)

    def leave(self, seat: Seat) -> None:
        """Forget a seat."""
        if self._guessers.pop(seat, None) and self._model is not None:
            self._model.leave(seat)


def most_drafted(seat: Seat) -> int:
    """Guesses that may be computed for a seat: none may reach a limit of the answer."""
    wanted = seat.job.options.draft_num_predict
    most = MOST_DRAFTED if wanted < 0 else min(wanted, MOST_DRAFTED)
    return min(most, seat.leeway - 1)
