"""The life of one loaded model, from the first byte of its weights to the last."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog
import trio

from ..base.adapters import Adapters
from ..base.constraints import Constraint
from ..base.errors import (
    EngineError,
    ModelLoadError,
    ShuttingDown,
    TrillamaError,
    Unsupported,
)
from ..base.events import StepEvent
from ..base.jobs import Guide, Job
from ..base.memory import Taken
from ..engine.base import Backend, ContextLimits, ModelFacts, Vocabulary
from ..engine.embedding import Tokens, Vectors
from ..engine.grammar import GrammarCompiler, Reasoning
from ..engine.threads import EngineThread, StackPool
from .answers import Answer
from .embedder import Embedder
from .machine import EngineMachine
from .roster import Roster
from .spec import MOVES, Queued, RunnerSpec, RunnerState, RunnerStatistics
from .vocabularies import check_text

log = structlog.get_logger(__name__)

CLOSE_GRACE = 10.0
"""Seconds an engine thread gets to end its step and free the model before it is left behind."""

TEXTS_AT_ONCE = 256
"""Texts that are tokenised before the next request has its turn."""

ProgressListener = Callable[[float], None]


def _ignore(fraction: float) -> None:
    pass


class Runner:
    """One model in memory and everything that goes on with it.

    Started and closed by the scheduler through :class:`~trillama.runner_pool.RunnerPool`. Every
    method belongs to the trio thread.

    Attributes:
        progress: loaded fraction, 0 to 1.
    """

    def __init__(self, spec: RunnerSpec, backend: Backend, tokenizers: StackPool) -> None:
        self.spec = spec
        self.state = RunnerState.STARTING
        self.progress = 0.0
        self._tokenizers = tokenizers
        self._tokenizing = 0
        self._adopted: dict[str, int] = {}
        self._grammars: GrammarCompiler | None = None
        self._machine = EngineMachine(spec, backend)
        self._thread = EngineThread(spec.name, self._machine, self)
        self._roster = Roster(spec, self._thread, self._machine)
        self._embedder = Embedder(spec, self._machine, self._stop_thread)
        self._on_progress: ProgressListener = _ignore
        self._error: TrillamaError | None = None
        self._settled = trio.Event()  # loaded or failed
        self._over = trio.Event()  # failed or stopped
        self._freed = trio.Event()  # the thread has closed the machine
        self._watch = trio.CancelScope()
        self._closing = False

    # -- starting ---------------------------------------------------------------------------------

    async def start(self, nursery: trio.Nursery, on_progress: ProgressListener) -> None:
        """Load the model and prove it with one decode.

        Cancelling gives the load up at its next progress report, and waits a bounded time until
        the memory is free again.

        Raises:
            ModelLoadError: the runner is FAILED, its memory free.
        """
        self._on_progress = on_progress
        self._machine.report = functools.partial(self._thread.tell, self._progressed)
        self._machine.deliver = functools.partial(self._thread.tell, self.deliver)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._freed.set()
            self._move(RunnerState.FAILED)
            raise ModelLoadError(f"no thread for {self.spec.name}: {error}") from error
        try:
            await self._settled.wait()
        except trio.Cancelled:
            self._machine.abort = True
            await self.aclose()
            raise
        if self._error is not None:
            await self.aclose()
            raise self._error
        nursery.start_soon(self._watch_times, name=f"overdue answers of {self.spec.name}")

    async def _watch_times(self) -> None:
        with self._watch:
            await self._roster.end_overdue()

    def _move(self, state: RunnerState) -> None:
        """The one place where the state changes."""
        if state not in MOVES[self.state]:
            raise RuntimeError(f"a runner cannot go from {self.state} to {state}")
        log.info("runner", model=self.spec.name, was=self.state.value, now=state.value)
        self.state = state
        if state in (RunnerState.FAILED, RunnerState.STOPPED):
            self._over.set()

    # -- what the engine thread tells: Watcher ----------------------------------------------------

    def _progressed(self, fraction: float) -> None:
        self.progress = fraction
        self._on_progress(fraction)

    def opened(self) -> None:
        """The model is loaded."""
        if not self._closing:
            self._move(RunnerState.READY)
        self._settled.set()

    def deliver(self, events: Sequence[StepEvent]) -> None:
        """One step is done."""
        self._roster.deliver(events)

    def broke(self, error: Exception) -> None:
        """The load or the engine failed; every answer ends, and nobody else is harmed."""
        if isinstance(error, TrillamaError) and self.state is RunnerState.STARTING:
            self._error = error
        else:
            self._error = EngineError(f"the engine of {self.spec.name} has stopped: {error}")
        if not self._over.is_set() and not self._machine.abort:
            log.error("engine failed", model=self.spec.name, error=str(error))
            self._move(RunnerState.FAILED)
        self._settled.set()
        self._fail_all(self._error)

    def _fail_all(self, error: TrillamaError) -> None:
        self._roster.fail_all(error)
        self._embedder.fail_all(error)

    def closed(self) -> None:
        """The model is freed and the thread gone."""
        self._on_progress = _ignore
        self._embedder.forget()
        self._freed.set()

    # -- facts ------------------------------------------------------------------------------------

    @property
    def facts(self) -> ModelFacts:
        """What the library says of the model; once READY."""
        return self._machine.model.facts

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens; once READY."""
        return self._machine.model.vocabulary

    @property
    def limits(self) -> ContextLimits:
        """What the context really has; once READY, and only where the spec generates."""
        return self._machine.context.limits

    @property
    def context_length(self) -> int:
        """Positions there are: cells of the pool, or what the model was trained for."""
        return self.limits.sequence_cells if self.spec.generates else self.facts.train_context

    @property
    def taken(self) -> Taken:
        """Memory it was given for generating; once READY."""
        return self._machine.taken

    @property
    def freed(self) -> bool:
        """The memory is given back; a STOPPED runner whose thread hangs has not."""
        return self._freed.is_set()

    @property
    def working(self) -> bool:
        """Whether it computes something for somebody."""
        return len(self._roster) > len(self._roster.paused) or self._embedder.requests > 0

    def statistics(self) -> RunnerStatistics:
        """Counts for the metrics and for tests."""
        return RunnerStatistics(
            name=self.spec.name,
            state=self.state,
            waiting=self._roster.waiting,
            running=len(self._roster) - self._roster.waiting,
            paused=len(self._roster.paused),
            coming=self._machine.coming,
            tokenizing=self._tokenizing,
            embedding=self._embedder.requests,
            totals=dataclasses.replace(self._roster.totals),
            batch=self._machine.snapshot,
        )

    def __repr__(self) -> str:
        return f"<Runner {self.spec.name} {self.state}, {len(self._roster)} answers>"

    # -- working ----------------------------------------------------------------------------------

    def queue(self) -> list[Queued]:
        """Jobs that wait for their turn, the next one first."""
        return self._roster.queue()

    def check_room(self, client: str) -> None:
        """See that a job of ``client`` may wait, before its prompt is made.

        Raises:
            Busy: too many wait already.
        """
        self._roster.check_room(client)

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """A job is being made ready; an engine with nothing else to do waits a moment for it. To be
        left before its submission: nobody waits for itself."""
        self._machine.coming += 1
        try:
            yield
        finally:
            self._machine.coming -= 1

    def submit_nowait(self, job: Job) -> Answer:
        """Give the engine a job; its answer must be closed, best as a context manager.

        Raises:
            Busy: too many wait already.
            ShuttingDown: the runner drains.
            EngineError: the engine has failed.
        """
        self._check_ready()
        if not self.spec.generates:
            raise Unsupported(f"{self.spec.name} was not loaded to generate")
        return self._roster.submit(job)

    async def adopt(self, adapters: Adapters) -> None:
        """Have adapters in memory before a job or an input names them.

        Raises:
            ModelLoadError: one cannot be loaded.
            ShuttingDown: the runner drains.
            EngineError: the engine has failed.
        """
        for adapter in adapters:
            if adapter.path not in self._adopted:
                self._check_ready()
                await trio.to_thread.run_sync(self._machine.model.load_adapter, adapter.path)
                self._adopted[adapter.path] = (await trio.Path(adapter.path).stat()).st_size

    @property
    def adapter_bytes(self) -> int:
        """What the adapters take that are in memory."""
        return sum(self._adopted.values())

    async def embed(self, inputs: Sequence[Tokens], adapters: Adapters = ()) -> Vectors:
        """Rows of ``inputs`` in their order, float32, shape (n, width), as the model gives them.

        Args:
            adapters: what they are computed with, adopted before.

        Raises:
            Busy: too many wait already.
            ShuttingDown: the runner drains.
            EngineError: the library failed on one of them.
            Unsupported: the model cannot embed.
        """
        self._check_ready()
        return await self._embedder.embed(inputs, adapters)

    async def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> Tokens:
        """Tokens of ``text``, int32, shape (n,), computed on a thread with a deep stack.

        Raises:
            BadRequest: the text is too long to be looked at.
        """
        self._check_ready()
        check_text(text)
        tokenize = functools.partial(
            self.vocabulary.tokenize, text, add_special=add_special, parse_special=parse_special
        )
        self._tokenizing += 1
        return await self._tokenizers.run(tokenize, self._text_done)

    async def guide(
        self, constraint: Constraint, reasoning: Reasoning | None, *, patient: bool = False
    ) -> Guide:
        """A rule for one answer, compiled on a worker thread unless it is known already.

        Args:
            reasoning: what may come before the answer.
            patient: sample every token, also those that leave no choice.

        Raises:
            BadRequest: the constraint is malformed, not supported or too complex.
            Busy: too many are being compiled.
        """
        self._check_ready()
        if self._grammars is None:
            self._grammars = GrammarCompiler(self.vocabulary)
        make = functools.partial(self._grammars.matcher, constraint, reasoning, patient=patient)
        return await trio.to_thread.run_sync(make, abandon_on_cancel=True)

    async def tokenize_many(
        self, texts: Sequence[str], *, add_special: bool = True
    ) -> list[Tokens]:
        """Tokens of each text, int32; see ``tokenize``."""
        found: list[Tokens] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = texts[start : start + TEXTS_AT_ONCE]
            for text in some:
                check_text(text)
            self._check_ready()
            work = functools.partial(_tokenize_all, self.vocabulary, some, add_special)
            self._tokenizing += 1
            found += await self._tokenizers.run(work, self._text_done)
        return found

    def _text_done(self) -> None:
        self._tokenizing -= 1
        self._stop_thread()

    def _check_ready(self) -> None:
        if self._error is not None:
            raise EngineError(str(self._error))
        if self.state is not RunnerState.READY:
            raise ShuttingDown(f"the model {self.spec.name} is being unloaded")

    # -- ending -----------------------------------------------------------------------------------

    async def wait_over(self) -> None:
        """Wait until the runner has failed or stopped."""
        await self._over.wait()

    async def drain(self, deadline: float = math.inf) -> bool:
        """Take no new jobs and wait for the answers that run.

        At ``deadline`` (trio's clock) those left end with ShuttingDown.

        Returns:
            whether all came to their own end.
        """
        if self.state is RunnerState.READY:
            self._move(RunnerState.DRAINING)
        with trio.move_on_at(deadline):
            await self._roster.wait_empty()
            await self._embedder.wait_empty()
        drained = not len(self._roster) and not self._embedder.requests
        self._fail_all(ShuttingDown())
        return drained

    async def aclose(self) -> None:
        """End what still runs, free the model and the thread. Again is harmless.

        Not cut short by a cancellation, but never longer than CLOSE_GRACE: a thread that hangs in
        the library is left behind and closes its model when it comes back.
        """
        self._closing = True
        if self.state is RunnerState.READY:
            self._move(RunnerState.DRAINING)
        self._fail_all(ShuttingDown())
        self._embedder.stop()
        self._watch.cancel()
        self._stop_thread()
        with trio.move_on_after(CLOSE_GRACE, shield=True) as grace:
            await self._freed.wait()
        if grace.cancelled_caught:
            log.error("engine thread hangs and is left behind", model=self.spec.name)
        if not self._over.is_set():
            self._move(RunnerState.STOPPED)

    def _stop_thread(self) -> None:
        """Stop the thread once nobody reads the vocabulary or embeds: closing frees the model."""
        if self._closing and not self._tokenizing and not self._embedder.live:
            self._thread.stop()


def _tokenize_all(vocabulary: Vocabulary, texts: Sequence[str], special: bool) -> list[Tokens]:
    return [vocabulary.tokenize(text, add_special=special) for text in texts]
