"""Runners: one loaded model each, with the thread that drives it and the answers it gives.

Owns: the engine threads, the tokeniser threads, and every answer from ``submit_nowait`` to its
``Done`` or its error. Tokens become text here, on the trio thread, while the next decode runs.
Called by: ``nursery_scheduler``, which alone starts and closes runners; ``api`` submits to the
runner of a lease and reads the answer.
Never: decides which model stays resident, sees JSON, or calls the engine from the trio thread.
A cancel of an answer is a plain call and frees its sequence within one engine step; a cancel of a
load stops it at the next progress report. A reader that is slow pauses its own job alone.

The parts of one runner are in ``runners/``; this is all of them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import trio

from .engine.base import Backend
from .engine.threads import StackPool
from .runners.admission import QUEUE_FULL
from .runners.answers import MAILBOX, Answer
from .runners.pace import Pace
from .runners.runner import ProgressListener, Runner
from .runners.spec import Queued, RunnerSpec, RunnerState, RunnerStatistics, RunnerTotals
from .runners.vocabularies import Tokenizer, Vocabularies

__all__ = [
    "MAILBOX",
    "QUEUE_FULL",
    "Answer",
    "Pace",
    "PoolStatistics",
    "Queued",
    "Runner",
    "RunnerPool",
    "RunnerSpec",
    "RunnerState",
    "RunnerStatistics",
    "RunnerTotals",
    "Tokenizer",
    "Vocabularies",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """The pool at one moment: every runner whose memory is not given back yet."""

    runners: tuple[RunnerStatistics, ...]


class RunnerPool:
    """Starts runners on one backend; they share its tokeniser threads.

    Attributes:
        vocabularies: of models that are not loaded.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._tokenizers = StackPool("tokenizer")
        self.vocabularies = Vocabularies(backend, self._tokenizers)
        self._runners: list[Runner] = []

    async def start(
        self,
        spec: RunnerSpec,
        nursery: trio.Nursery,
        on_progress: ProgressListener = lambda fraction: None,
    ) -> Runner:
        """Load a model; return when it can answer.

        The runner's tasks live in ``nursery``; close it with ``aclose`` before the nursery ends.

        Raises:
            ModelLoadError: the model could not be loaded; nothing of it is left.
        """
        runner = Runner(spec, self.backend, self._tokenizers)
        self._runners = [*self.residents, runner]
        await runner.start(nursery, on_progress)
        return runner

    @property
    def residents(self) -> list[Runner]:
        """Runners that hold memory, loading and closing ones included; others are let go."""
        self._runners = [runner for runner in self._runners if not runner.freed]
        return list(self._runners)

    def crowds(self) -> bool:
        """Whether answers are being computed on this machine's processors, not on a GPU."""
        return any(runner.working for runner in self.residents) and self._on_cpu

    @functools.cached_property
    def _on_cpu(self) -> bool:
        return not any(device.kind in ("gpu", "igpu") for device in self.backend.devices())

    def close(self) -> None:
        """End the tokeniser threads; the runners are closed by their owner."""
        self._tokenizers.close()
        self.vocabularies.close()

    def statistics(self) -> PoolStatistics:
        """Counts for the metrics and for tests."""
        return PoolStatistics(runners=tuple(runner.statistics() for runner in self.residents))

    def __repr__(self) -> str:
        return f"<RunnerPool {self.residents}>"
