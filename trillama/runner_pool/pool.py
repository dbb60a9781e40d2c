"""All runners of the process."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from ..engine.base import Backend
from ..engine.threads import StackPool
from .runner import ProgressListener, Runner
from .spec import RunnerSpec, RunnerStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """The pool at one moment: every runner whose memory is not given back yet."""

    runners: tuple[RunnerStatistics, ...]


class RunnerPool:
    """Starts runners on one backend; they share its tokeniser threads."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._tokenizers = StackPool("tokenizer")
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
        """Runners that hold memory, loading and closing ones included."""
        return [runner for runner in self._runners if not runner.freed]

    def close(self) -> None:
        """End the tokeniser threads; the runners are closed by their owner."""
        self._tokenizers.close()

    def statistics(self) -> PoolStatistics:
        """Counts for the metrics and for tests."""
        return PoolStatistics(runners=tuple(runner.statistics() for runner in self.residents))

    def __repr__(self) -> str:
        return f"<RunnerPool {self.residents}>"
