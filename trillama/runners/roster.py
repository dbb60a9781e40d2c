"""The live answers of one runner: who waits, who runs, who reads too slowly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import structlog
import trio

from ..base.callers import DeadlineExceeded
from ..base.durations import FOREVER, SECOND
from ..base.errors import Busy, StalledReader, TrillamaError
from ..base.events import Admitted, StepEvent
from ..base.jobs import Job
from ..engine.text import TextStream
from ..engine.threads import EngineThread
from .admission import WaitingRoom
from .answers import Answer
from .machine import EngineMachine
from .spec import Queued, RunnerSpec, RunnerTotals

log = structlog.get_logger(__name__)


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
        self._room = WaitingRoom(spec.max_queue, spec.most_queued_tokens)
        self._someone_due = trio.lowlevel.ParkingLot()
        self._emptied = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def waiting(self) -> int:
        """Answers without a sequence."""
        return len(self._room)

    def queue(self) -> list[Queued]:
        """Those who wait, as the engine would take them a moment ago, the latest comers last."""
        now = trio.current_time()
        batch = self._machine.snapshot
        order = {job: place for place, job in enumerate(batch.order)} if batch else {}
        jobs = sorted(self._room.waiting, key=lambda job: order.get(job, len(order)))
        return [
            Queued(
                id=job,
                position=position,
                waiting=self._room.waiting[job],
                waited=now - self._room.waiting[job].since,
                expected=self._room.seconds(position, now),
            )
            for position, job in enumerate(jobs, 1)
        ]

    def check_room(self, client: str, tokens: int = 0) -> None:
        """See that a job may wait, before more is done for it.

        Raises:
            Busy: too many do already.
        """
        try:
            self._room.check(client, tokens, trio.current_time())
        except Busy:
            self.totals.refused += 1
            raise

    def submit(self, job: Job) -> Answer:
        """Give the engine a job.

        Raises:
            Busy: too many wait already.
        """
        self.check_room(job.client, len(job.prompt))
        if job.id in self._answers:
            raise ValueError(f"job {job.id} is in the engine already")
        stream = TextStream(self._machine.model.vocabulary, job.options.stop, job.shown)
        now = trio.current_time()
        if not self._answers:
            self._room.resumed(now)
        answer = self._answers[job.id] = Answer(job, stream, self)
        self._room.enter(job, now)
        self.totals.submitted += 1
        self._thread.post(self._machine.batcher.submit, job)
        if answer.deadline < math.inf:
            self._someone_due.unpark_all()
        return answer

    def deliver(self, events: Sequence[StepEvent]) -> None:
        """Pass on what one step brought; what comes for answers already ended is dropped."""
        answers = self._answers
        for event in events:
            if isinstance(event, Admitted):
                self._room.leave(event.job_id)
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

    async def end_overdue(self) -> None:
        """End answers whose time is over or whose reader has read nothing for too long; runs until
        cancelled."""
        timeout = self._spec.stall_timeout
        limit = math.inf if timeout in (0, FOREVER) else timeout / SECOND
        while True:
            oldest = min((answer.full_since for answer in self.paused), default=math.inf)
            due = min((answer.deadline for answer in self._answers.values()), default=math.inf)
            with trio.move_on_at(min(oldest + limit, due)):
                await self._someone_due.park()
            now = trio.current_time()
            for answer in [a for a in self._answers.values() if a.deadline <= now]:
                self.totals.overdue += 1
                answer.fail(DeadlineExceeded())
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
        self._someone_due.unpark_all()
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
        self._room.leave(answer.id)
        if answer.admitted:
            self._room.served(trio.current_time())
        if not self._answers:
            self._emptied.unpark_all()
