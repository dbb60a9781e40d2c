"""The nouns of this room: what to run, in which phase it is, and what it counts."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass, field

from ..base.durations import SECOND
from ..base.memory import Footprint
from ..batching import Policy
from ..engine.base import ContextParams, LoadParams
from ..engine.embedding import EmbeddingParams
from ..seats import BatchStatistics
from .admission import Waiting

POOLS_QUEUED = 64
"""Prompt tokens that may wait when nobody says, in pools."""


class RunnerState(enum.StrEnum):
    """Phases of a runner's life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


MOVES: dict[RunnerState, tuple[RunnerState, ...]] = {
    RunnerState.STARTING: (RunnerState.READY, RunnerState.FAILED, RunnerState.STOPPED),
    RunnerState.READY: (RunnerState.DRAINING, RunnerState.FAILED),
    RunnerState.DRAINING: (RunnerState.STOPPED, RunnerState.FAILED),
    RunnerState.STOPPED: (),
    RunnerState.FAILED: (),
}
"""From each phase to the phases that may follow it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSpec:
    """Which model to run and how.

    Attributes:
        key: what makes runners the same; the path of the weights, so that two names of one file
            share a runner.
        name: what the model is called in lists and logs.
        path: the GGUF file.
        draft: that of a smaller model that guesses ahead, "" for none.
        generates: it answers; else it only embeds, and has no context to generate with.
        embedding: how a context for embeddings is opened, once somebody asks for vectors.
        stall_timeout: nanoseconds a reader may read nothing; 0 and FOREVER mean no limit.
        max_queue: jobs that may wait for a sequence; 0 counts as 1, a job in transit.
        max_queue_tokens: tokens of their prompts; 0 means 64 times the pool.
        footprint: what it takes of memory; None where nothing is known.
        adapters: bytes of the LoRA adapters it has, or comes with; they take no part in what
            makes runners the same.
    """

    key: str
    name: str
    path: str
    draft: str = ""
    load: LoadParams = field(default_factory=LoadParams)
    context: ContextParams
    policy: Policy = field(default_factory=Policy)
    generates: bool = True
    embedding: EmbeddingParams = field(default_factory=EmbeddingParams)
    stall_timeout: int = 60 * SECOND
    max_queue: int = 512
    max_queue_tokens: int = 0
    footprint: Footprint | None = None
    adapters: int = 0

    @property
    def most_queued_tokens(self) -> int:
        """``max_queue_tokens`` with its default filled in."""
        pool = self.context.cells * max(1, self.context.streams)
        return self.max_queue_tokens or POOLS_QUEUED * pool

    def serves(self, wanted: RunnerSpec) -> bool:
        """Whether a runner started from this spec does for ``wanted``; spare cells do no harm."""
        same_weights = (self.path, self.load) == (wanted.path, wanted.load)
        same_weights &= wanted.draft in ("", self.draft)
        spare = self.context.cells >= wanted.context.cells
        same_context = dataclasses.replace(wanted.context, cells=self.context.cells) == self.context
        same_use = self.generates >= wanted.generates and self.policy == wanted.policy
        return same_weights and spare and same_context and same_use


@dataclass(slots=True)
class RunnerTotals:
    """Counts of a runner since its start."""

    submitted: int = 0
    ended: int = 0
    refused: int = 0
    stalled: int = 0
    overdue: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A job that waits for its turn, as lists show it.

    Attributes:
        position: 1 for the next.
        waited, expected: seconds until now, and from now on; None before anything was measured.
    """

    id: str
    position: int
    waiting: Waiting
    waited: float
    expected: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerStatistics:
    """A runner at one moment.

    Attributes:
        waiting: answers without a sequence.
        running: answers that have one, paused ones included.
        paused: answers whose reader is behind.
        coming: jobs that are being made ready.
        tokenizing: texts on the tokeniser threads.
        embedding: requests for vectors.
        batch: what the step loop last said of itself: exact when it is idle, at most a quarter of
            a second old while it works; None while loading.
    """

    name: str
    state: RunnerState
    waiting: int
    running: int
    paused: int
    coming: int
    tokenizing: int
    embedding: int
    totals: RunnerTotals
    batch: BatchStatistics | None
