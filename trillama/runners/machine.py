"""What lives on an engine thread: the model, its context and the step loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import structlog
import trio

from ..base.durations import MILLISECOND, SECOND
from ..base.errors import ModelLoadError, TrillamaError
from ..base.events import StepEvent
from ..base.memory import NOTHING
from ..batching import Batcher, Report
from ..engine.base import Backend, Context, MemoryKind, Model
from ..engine.budget import StepBudget
from ..engine.draft_model import DraftModel, check_draft, draft_params
from ..engine.warmup import warm_up
from ..seats import BatchStatistics, Seat
from .spec import RunnerSpec

log = structlog.get_logger(__name__)

SNAPSHOT_EVERY = 250 * MILLISECOND


def _tell_nobody(fraction: float) -> None:
    pass


class EngineMachine:
    """Model, context and batcher, made and freed on one thread.

    Attributes:
        report: told the loaded fraction, on the engine thread.
        deliver: told what steps bring, as the next one begins to decode, on the engine thread.
        coming: jobs that are being made ready for the engine; set on the trio thread.
        abort: set from any thread to give a load up at its next progress report.
        snapshot: the batcher's statistics of a moment ago; may be read from any thread.
        taken: memory that all of it was given, by what the library says.
        model, context, batcher: there once ``open`` has returned; the latter two only where the
            spec generates.
    """

    model: Model
    context: Context
    batcher: Batcher

    def __init__(self, spec: RunnerSpec, backend: Backend) -> None:
        self.report: Callable[[float], None] = _tell_nobody
        self.deliver: Report | None = None
        self.coming = 0
        self.abort = False
        self.snapshot: BatchStatistics | None = None
        self.taken = NOTHING
        self._snapshot_at = 0
        self._reported = 0.0
        self._spec = spec
        self._backend = backend
        self._held = contextlib.ExitStack()

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return self._spec.generates and self.batcher.has_work

    @property
    def linger(self) -> float:
        """Seconds the next step may wait for jobs that are expected."""
        return self.batcher.linger(self.coming) / SECOND

    def open(self) -> None:
        """Load the weights, open the context and prove both with one decode.

        Raises:
            ModelLoadError: any of it failed, or ``abort`` was set.
        """
        try:
            self._load()
        except ModelLoadError:
            raise
        except Exception as error:
            raise ModelLoadError(f"loading {self._spec.name} failed: {error}") from error

    def _load(self) -> None:
        spec = self._spec
        self.model = self._backend.load(spec.path, spec.load, self._progress)
        self._held.callback(self.model.close)
        self.taken = self.model.facts.taken
        self._check_abort()
        if spec.generates:
            self._open_context(spec)

    def _open_context(self, spec: RunnerSpec) -> None:
        self.context = self.model.open_context(spec.context)
        self._held.callback(self.context.close)
        self.taken += self.context.limits.taken
        self._check_abort()
        lone_ns = 0
        if self.model.facts.memory is not MemoryKind.NONE:
            lone_ns = warm_up(self.context)
        budget = StepBudget(spec.policy.step_budget, self.context.limits, lone_ns)
        draft = self._draft_model(spec)
        self.batcher = Batcher(self.context, spec.policy, draft=draft, budget=budget)
        self._held.callback(self.batcher.close)
        self.snapshot = self.batcher.statistics()

    def _draft_model(self, spec: RunnerSpec) -> DraftModel[Seat] | None:
        """The model that guesses ahead; a draft that is of no use is logged and left out."""
        if not (spec.draft and spec.policy.speculation):
            return None
        with contextlib.ExitStack() as held:
            try:
                model = self._backend.load(spec.draft, spec.load)
                held.callback(model.close)
                check_draft(self.model, model)
                context = model.open_context(draft_params(spec.context))
                held.callback(context.close)
                warm_up(context)
            except TrillamaError as error:
                log.warning("draft model not used", model=spec.name, reason=error.message)
                return None
            self._held.callback(held.pop_all().close)
        self.taken += model.facts.taken + context.limits.taken
        return DraftModel(context)

    def _progress(self, fraction: float) -> bool:
        if fraction - self._reported >= 0.01 or fraction >= 1:
            self._reported = fraction
            try:
                self.report(fraction)
            except trio.RunFinishedError:
                return False
        return not self.abort

    def _check_abort(self) -> None:
        if self.abort:
            raise ModelLoadError(f"loading {self._spec.name} was given up")

    def step(self) -> list[StepEvent]:
        """Advance every job by one step; what ``deliver`` was not told is returned."""
        events = self.batcher.step(self.deliver)
        now = time.monotonic_ns()
        if not self.batcher.has_work or now - self._snapshot_at > SNAPSHOT_EVERY:
            self._snapshot_at = now
            self.snapshot = self.batcher.statistics()
        return events

    def close(self) -> None:
        """Free everything in the order it must go; trouble is logged and the rest still goes."""
        try:
            self._held.close()
        except Exception:
            log.exception("closing an engine failed", model=self._spec.name)
        self.report, self.deliver = _tell_nobody, None
