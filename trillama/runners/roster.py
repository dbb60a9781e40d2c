"""The live answers of one runner: who waits, who runs, who reads too slowly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import structlog
import trio

from ..base.durations import FOREVER, SECOND
from ..base.errors import Busy, StalledReader, TrillamaError
from ..base.events import StepEvent
from ..base.jobs import Job
from ..engine.text import TextStream
from ..engine.threads import EngineThread
from .answers import Answer
from .machine import EngineMachine
from .pace import Pace
from .spec import RunnerSpec, RunnerTotals

log = structlog.get_logger(__name__)

QUEUE_FULL = "server busy, please try again.  maximum pending requests exceeded"


class Roster:
    """Hands jobs to the engine and its events to their answers; trio thread only."""

    def __init__(
        self, spec: RunnerSpec, thread: EngineThread[StepEvent], machine: EngineMachine
    ) -> None:
        self.totals = RunnerTotals()
        self.paused: set[Answer] = set()
        self._spec = spec
        self._thread = thread
        self._machine = machine
        self._answers: dict[str, Answer] = {}
        self._someone_paused = trio.lowlevel.ParkingLot()
        self._emptied = trio.lowlevel.ParkingLot()
        self._pace = Pace()

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def waiting(self) -> int:
        """Answers without a sequence."""
        return sum(not answer.admitted for answer in self._answers.values())

    def submit(self, job: Job) -> Answer:
        """Give the engine a job.

        Raises:
            Busy: too many wait already.
        """
        waiting = self.waiting
        if waiting >= max(1, self._spec.max_queue):
            self.totals.refused += 1
            raise Busy(QUEUE_FULL, self._pace.retry_after(waiting, trio.current_time()))
        if job.id in self._answers:
            raise ValueError(f"job {job.id} is in the engine already")
        stream = TextStream(self._machine.model.vocabulary, job.options.stop, job.shown)
        answer = self._answers[job.id] = Answer(job, stream, self)
        self.totals.submitted += 1
        self._thread.post(self._machine.batcher.submit, job)
        return answer

    def deliver(self, events: Sequence[StepEvent]) -> None:
        """Pass on what one step brought; what comes for answers already ended is dropped."""
        answers = self._answers
        for event in events:
            answer = answers.get(event.job_id)
            if answer is not None:
                answer.deliver(event)

    def fail_all(self, error: TrillamaError) -> None:
        """End every live answer with ``error``."""
        for answer in list(self._answers.values()):
            answer.fail(error)

    async def wait_empty(self) -> None:
        """Wait until no answer is live."""
        while self._answers:
            await self._emptied.park()

    async def end_stalled(self) -> None:
        """End answers whose reader has read nothing for too long; runs until cancelled."""
        timeout = self._spec.stall_timeout
        limit = math.inf if timeout in (0, FOREVER) else timeout / SECOND
        while True:
            oldest = min((answer.full_since for answer in self.paused), default=math.inf)
            with trio.move_on_at(oldest + limit):
                await self._someone_paused.park()
            now = trio.current_time()
            for answer in [a for a in self.paused if a.full_since + limit <= now]:
                self.totals.stalled += 1
                log.warning("slow reader given up", job=answer.id, model=self._spec.name)
                answer.fail(StalledReader(f"nothing was read for {limit:g} s"))

    # -- what answers ask for: Controls -----------------------------------------------------------

    def cancel_job(self, answer: Answer) -> None:
        """Have the engine forget the job within a step."""
        self._thread.post(self._machine.batcher.cancel, answer.id)

    def pause_job(self, answer: Answer) -> None:
        """Have the engine skip the job until its reader has caught up."""
        self.paused.add(answer)
        self._someone_paused.unpark_all()
        self._thread.post(self._machine.batcher.pause, answer.id)

    def resume_job(self, answer: Answer) -> None:
        """Have the engine go on."""
        self.paused.discard(answer)
        self._thread.post(self._machine.batcher.resume, answer.id)

    def answer_ended(self, answer: Answer) -> None:
        """Strike the answer off."""
        del self._answers[answer.id]
        self.paused.discard(answer)
        self.totals.ended += 1
        self._pace.tick(trio.current_time())
        if not self._answers:
            self._emptied.unpark_all()
