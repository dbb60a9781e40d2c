"""A job in the engine, from its submission to its end."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..base.errors import BadRequest, EngineError, PromptTooLong
from ..base.jobs import Job
from ..engine.base import Chain, Context
from ..engine.sampling import RowSampler, Tier, tier
from ..kv import Place


@dataclass(eq=False, slots=True)
class Seat:
    """A job in the engine.

    Attributes:
        known: tokens to compute first: the prompt, or everything so far after a pause.
        fresh: tokens sampled since; the last one is not computed yet.
        sequence: its place in the pool; None while it waits.
        cached: tokens of the prompt that needed no computing.
        pending: how many of the newest ``fresh`` tokens are computed next.
        drafted, accepted: tokens guessed ahead, and those of them that were right.
        fulfilled: the answer is complete by the rule it keeps.
        ahead: guessed tokens that are computed already, from the first that was not sampled yet.
        awaits: a job that computes a prefix of ours, and how long that prefix is.
    """

    job: Job
    known: npt.NDArray[np.int32]
    limit: int
    sampler: RowSampler
    fresh: list[int] = field(default_factory=list)
    chain: Chain | None = None
    sequence: Place | None = None
    cached: int = 0
    pending: int = 1
    produced: int = 0
    drafted: int = 0
    accepted: int = 0
    shifted: int = 0
    admitted_step: int = -1
    fulfilled: bool = False
    cancelled: bool = False
    paused: bool = False
    ahead: list[int] = field(default_factory=list)
    awaits: tuple[Seat, int] | None = None

    @property
    def place(self) -> Place:
        """The sequence of a live seat."""
        assert self.sequence is not None
        return self.sequence

    @property
    def remaining(self) -> int:
        """Prompt tokens still to compute."""
        return len(self.known) - self.place.length if not self.fresh else 0

    @property
    def reach(self) -> int:
        """Prompt tokens that may be computed in one step: up to where the memory is to be saved."""
        stop = self.place.stop
        return min(self.remaining, stop - self.place.length) if stop else self.remaining

    @property
    def most(self) -> int:
        """Tokens the answer may have at most."""
        wanted = self.job.options.num_predict
        return self.limit if wanted < 0 else wanted

    @property
    def work(self) -> int:
        """Tokens computed for the client: what a pause makes to be computed again is not."""
        return len(self.job.prompt) - self.cached + self.produced

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


def take_seat(job: Job, context: Context) -> Seat:
    """A seat for a new job, with all that its sampling needs.

    Raises:
        TrillamaError: the job can never run in this context.
    """
    limit = min(job.limit, context.limits.sequence_cells)
    n_vocab = context.vocabulary.size
    validate(job, limit, n_vocab)
    seat = Seat(job, job.prompt, limit, RowSampler(job.options, job.prompt, n_vocab))
    if job.options.num_predict and tier(job.options) is Tier.CHAIN:  # none where it never samples
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
