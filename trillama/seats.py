"""The jobs inside an engine, and how one step's rows are divided among them.

Used by ``batching`` alone. A ``Seat`` is a job from submission to its end; a ``Plan`` is the rows
of one step. Pure book-keeping: nothing here calls the library or decides who is admitted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from .base.errors import BadRequest, EngineError, PromptTooLong
from .base.jobs import Job
from .engine.base import Batch, Chain, Context
from .engine.budget import Load
from .engine.prefix_tree import common_length
from .engine.sampling import RowSampler, Tier, tier
from .kv import MIN_REUSE, KVPool, KVStatistics, Sequence

AGEING = 64
"""Prompt tokens of advantage a prefilling job gains per step over shorter newcomers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How to run a context.

    Attributes:
        max_live: jobs generating or prefilling at once; 0 means as many as the context has rows.
        step_budget: see :class:`~trillama.engine.budget.StepBudget`.
        prefix_cache: keep finished sequences for later prompts.
    """

    max_live: int = 0
    step_budget: str = "auto"
    prefix_cache: bool = True


@dataclass(eq=False, slots=True)
class Seat:
    """A job in the engine.

    Attributes:
        known: tokens to compute first: the prompt, or everything so far after a pause.
        fresh: tokens sampled since; the last one is not computed yet.
        sequence: its place in the pool; None while it waits.
        pending: how many of the newest ``fresh`` tokens are computed next.
        fulfilled: the answer is complete by the rule it keeps.
        awaits: a job that computes a prefix of ours, and how long that prefix is.
    """

    job: Job
    known: npt.NDArray[np.int32]
    limit: int
    sampler: RowSampler
    fresh: list[int] = field(default_factory=list)
    chain: Chain | None = None
    sequence: Sequence | None = None
    pending: int = 1
    produced: int = 0
    shifted: int = 0
    admitted_step: int = -1
    fulfilled: bool = False
    cancelled: bool = False
    paused: bool = False
    awaits: tuple[Seat, int] | None = None

    @property
    def place(self) -> Sequence:
        """The sequence of a live seat."""
        assert self.sequence is not None
        return self.sequence

    @property
    def remaining(self) -> int:
        """Prompt tokens still to compute."""
        return len(self.known) - self.place.length if not self.fresh else 0

    def tokens(self) -> npt.NDArray[np.int32]:
        """All tokens so far."""
        return np.concatenate((self.known, np.array(self.fresh, np.int32)))

    @property
    def leeway(self) -> int:
        """Tokens that may still come before a limit has to be looked at."""
        room = self.limit - len(self.known) - len(self.fresh) - 1
        most = self.job.options.num_predict
        return max(0, room if most < 0 else min(room, most - self.produced))

    def overflow(self) -> tuple[int, int]:
        """How a full window slides: positions to keep in front, positions to drop after them.

        As llama-server does it: half of what is not kept goes. (0, 0) when it may not slide.
        """
        keep = self.job.options.num_keep
        keep = min(len(self.job.prompt) if keep < 0 else keep, self.limit // 2)
        discard = (len(self.known) + len(self.fresh) - keep) // 2
        return (keep, discard) if self.job.shift and discard > 0 else (0, 0)


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


@dataclass(slots=True, kw_only=True)
class Counts:
    """What a batcher has done since its start.

    Attributes:
        steps: decodes that computed something.
        prompt_tokens: prompt tokens computed; ``cached_tokens`` were not.
        preemptions: jobs sent back to the queue to make room.
        no_room: decodes for which the library found no cells.
    """

    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    preemptions: int = 0
    no_room: int = 0


@dataclass(slots=True, kw_only=True)
class BatchStatistics(Counts):
    """Jobs at one moment, and the counts until then."""

    waiting: int
    prefilling: int
    generating: int
    paused: int
    kv: KVStatistics


def summary(
    live: list[Seat], waiting: int, paused: int, counts: Counts, kv: KVPool
) -> BatchStatistics:
    """What a batcher tells of itself."""
    generating = sum(bool(seat.fresh) for seat in live)
    return BatchStatistics(
        waiting=waiting,
        prefilling=len(live) - generating,
        generating=generating,
        paused=paused,
        kv=kv.statistics(),
        **asdict(counts),
    )


def prefix_is_coming(seat: Seat, live: list[Seat], kv: KVPool) -> bool:
    """Whether a job in prefill is about to compute what this one would compute again."""
    if seat.awaits is None and kv.reuse:
        seat.awaits = coming_prefix(seat, live, kv.match(seat.job.cache_key, seat.known))
    if seat.awaits is not None:
        other, length = seat.awaits
        if other.sequence is None or other.paused or other.place.length >= length:
            seat.awaits = None
    return seat.awaits is not None


def coming_prefix(seat: Seat, live: list[Seat], cached: int) -> tuple[Seat, int] | None:
    """A prefilling seat about to compute a longer part of our prompt than is cached now.

    Returns:
        that seat and the length of the common prefix; waiting for it costs less than computing
        the same tokens twice.
    """
    for other in live:
        if other.remaining and other.job.cache_key == seat.job.cache_key:
            same = common_length(seat.known[:-1], other.known)
            if same >= max(cached, other.place.length) + MIN_REUSE:
                return other, same
    return None


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


def take_seat(job: Job, context: Context) -> Seat:
    """A seat for a new job, with all that its sampling needs.

    Raises:
        TrillamaError: the job can never run in this context.
    """
    limit = min(job.limit, context.limits.cells)
    n_vocab = context.vocabulary.size
    validate(job, limit, n_vocab)
    seat = Seat(job, job.prompt, limit, RowSampler(job.options, job.prompt, n_vocab))
    if tier(job.options) is Tier.CHAIN:
        seat.chain = context.new_chain(job.options, job.prompt)
    return seat


def dead_end(seat: Seat) -> EngineError:
    """Why no token could be chosen."""
    guide = seat.job.guide
    if guide is None:
        return EngineError("the model gave no usable probabilities")
    why = guide.failure or "no token of the model can follow"
    return EngineError(f"the answer cannot be continued as its format demands: {why}")


def validate(job: Job, limit: int, n_vocab: int) -> None:
    """Refuse what no engine could run.

    Raises:
        BadRequest: no tokens, or a token outside the vocabulary.
        PromptTooLong: more tokens than ``limit`` positions.
    """
    if not len(job.prompt):
        raise BadRequest("the prompt has no tokens")
    if len(job.prompt) > limit:
        raise PromptTooLong(len(job.prompt), limit)
    if job.prompt.min() < 0 or job.prompt.max() >= n_vocab:
        raise BadRequest("the prompt holds a token that is not in the model's vocabulary")
