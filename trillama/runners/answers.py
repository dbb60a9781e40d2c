"""One answer: from tokens as the engine samples them to text as a client may see it.

The runner calls ``deliver`` on the trio thread for every event of a job: the hot path, a few
microseconds a token. The Desk reads with ``async for`` or, to write several records in one go when
it lags, with ``receive_many``; one reader at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

import structlog
import trio

from ..base.errors import Cancelled, EngineError, TrillamaError
from ..base.events import (
    Admitted,
    AnswerEvent,
    Done,
    Ended,
    Sampled,
    StepEvent,
    StopReason,
    Text,
    TokenScores,
    Usage,
)
from ..base.jobs import Job

log = structlog.get_logger(__name__)

MAILBOX = 256
"""Events a reader may lag behind before its job pauses; it resumes at half of them."""


Tap = Callable[[Text], bool]
"""Takes what is said, on the trio thread, while the reader waits; false once it wants no more."""


class TokenText(Protocol):
    """Turns tokens into text; :class:`trillama.engine.text.TextStream` is the one in use."""

    @property
    def stopped(self) -> bool:
        """A stop string was completed; nothing more is to be shown."""
        ...

    @property
    def stop(self) -> str:
        """That stop string, "" before."""
        ...

    def push(self, token: int) -> str:
        """Text that has become safe to show."""
        ...

    def finish(self) -> str:
        """What was held back."""
        ...


class Controls(Protocol):
    """What an answer asks of its runner; plain calls that never block."""

    def cancel_job(self, answer: Answer) -> None:
        """Take the job out of the engine."""
        ...

    def pause_job(self, answer: Answer) -> None:
        """Stop generating for this reader."""
        ...

    def resume_job(self, answer: Answer) -> None:
        """Go on."""
        ...

    def answer_ended(self, answer: Answer) -> None:
        """Nothing more is expected for this answer."""
        ...


class Answer:
    """Events of one job: ``Text`` any number of times, then ``Done`` or a raised error.

    Leaving its ``with`` block by any road cancels what still runs.

    Attributes:
        id: the job's.
        admitted: the engine has given it a sequence.
        ended: nothing more will come; what came may still be unread.
        paused: its mailbox is full and the job waits for the reader.
        deadline: when it must be over, on trio's clock.
        full_since: trio's clock when the mailbox filled up, or was last read after that.
    """

    def __init__(
        self, job: Job, text: TokenText, controls: Controls, *, capacity: int = MAILBOX
    ) -> None:
        self.id = job.id
        self.deadline = job.deadline
        self.admitted = False
        self.ended = False
        self.paused = False
        self.full_since = 0.0
        self._text = text
        self._controls = controls
        self._capacity = capacity
        self._mail: list[AnswerEvent] = []
        self._error: TrillamaError | None = None
        self._reader = trio.lowlevel.ParkingLot()
        self._tap: Tap | None = None
        self._unshown: tuple[int, ...] = ()
        self._unshown_scores: tuple[TokenScores, ...] = ()
        self._prompt_tokens = len(job.prompt)
        self._cached_tokens = self._output_tokens = 0
        self._drafted = self._accepted = 0
        self._submitted_at = job.submitted or time.monotonic_ns()
        self._admitted_at = self._first_at = 0

    # -- writing: trio thread, called by the runner -----------------------------------------------

    def deliver(self, event: StepEvent) -> None:
        """Take the next event of the job; never raises."""
        try:
            if isinstance(event, Sampled):
                self._sampled(event)
            elif isinstance(event, Ended):
                self._left_engine(event)
            else:
                self._begin(event)
        except Exception as error:
            log.error("turning tokens into text failed", job=self.id, exc_info=error)
            self.fail(EngineError("turning tokens into text failed; the server's log says why"))

    def fail(self, error: TrillamaError) -> None:
        """End with ``error`` after what is already in the mailbox; the engine drops the job."""
        if not self.ended:
            self._error = error
            self._controls.cancel_job(self)
            self._end()

    def stop(self) -> None:
        """End here, as a stop string does: what is in the mailbox stays, the rest is not made."""
        if not self.ended:
            self._controls.cancel_job(self)
            self._finish(Done(StopReason.STOP, self._usage(time.monotonic_ns())))

    def _begin(self, event: Admitted) -> None:
        self.admitted = True
        self._admitted_at = event.at
        self._cached_tokens = event.cached

    def _sampled(self, event: Sampled) -> None:
        self._output_tokens += 1
        self._first_at = self._first_at or event.at
        self._unshown += (event.token,)
        if event.scores is not None:
            self._unshown_scores += (event.scores,)
        text = self._text.push(event.token)
        if text:
            self._show(text)
        if self._text.stopped:
            self._controls.cancel_job(self)
            self._finish(Done(StopReason.STOP, self._usage(event.at), stop=self._text.stop))

    def _left_engine(self, event: Ended) -> None:
        if event.error is not None:
            self._error = event.error
            self._end()
            return
        if event.reason is StopReason.STOP and not event.complete:
            self._output_tokens += 1  # the end-of-generation token has no event of its own
            self._first_at = self._first_at or event.at
        self._drafted, self._accepted = event.drafted, event.accepted
        if rest := self._text.finish():
            self._show(rest)
        reason = StopReason.STOP if self._text.stopped else event.reason
        self._finish(Done(reason, self._usage(event.at), event.shifted, self._text.stop))

    def _show(self, text: str) -> None:
        """Pass on ``text``; past the mailbox only while the reader still waits in it."""
        said = Text(text, self._unshown, self._unshown_scores)
        self._unshown = self._unshown_scores = ()
        if self._tap is not None and self._reader:
            if not self._tap(said):
                self._reader.unpark_all()
            return
        self._mail.append(said)
        self._reader.unpark_all()
        if len(self._mail) >= self._capacity and not self.paused:
            self.paused = True
            self.full_since = trio.current_time()
            self._controls.pause_job(self)

    def _finish(self, done: Done) -> None:
        if not self.ended:
            self._mail.append(done)
            self._end()

    def _end(self) -> None:
        self.ended = True
        self.paused = False
        self._controls.answer_ended(self)
        self._reader.unpark_all()

    def _usage(self, now: int) -> Usage:
        admitted = self._admitted_at or now
        first = self._first_at or now
        return Usage(
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            output_tokens=self._output_tokens,
            drafted_tokens=self._drafted,
            accepted_tokens=self._accepted,
            queue_ns=max(admitted - self._submitted_at, 0),
            prompt_ns=max(first - admitted, 0),
            output_ns=max(now - first, 0),
        )

    @property
    def counts(self) -> Usage:
        """Tokens so far, without durations."""
        return Usage(
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            output_tokens=self._output_tokens,
        )

    # -- reading ----------------------------------------------------------------------------------

    async def receive_many(self, tap: Tap | None = None) -> Sequence[AnswerEvent]:
        """Everything that has come since the last read, at least one event; waits for it.

        Args:
            tap: while this waits, given each text in the call of ``deliver`` that brought it; this
                goes on waiting until it returns false, or something else has come.

        Returns:
            events in order; empty only once ``Done`` has been read, or when ``tap`` has refused.

        Raises:
            TrillamaError: what ended the answer, once everything before it has been read.
        """
        await self._wait_for_mail(tap)
        mail, self._mail = self._mail, []
        self._after_read()
        return mail

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> AnswerEvent:
        await self._wait_for_mail()
        if not self._mail:
            raise StopAsyncIteration
        event = self._mail.pop(0)
        self._after_read()
        return event

    async def _wait_for_mail(self, tap: Tap | None = None) -> None:
        if self._mail or self.ended:
            await trio.lowlevel.checkpoint_if_cancelled()
        elif self._reader:
            raise trio.BusyResourceError("another task reads this answer")
        else:
            self._tap = tap
            try:
                await self._reader.park()
            finally:
                self._tap = None
        if not self._mail and self._error is not None:
            raise self._error

    def _after_read(self) -> None:
        if not self.paused:
            return
        self.full_since = trio.current_time()
        if len(self._mail) < self._capacity // 2:
            self.paused = False
            self._controls.resume_job(self)

    # -- leaving ----------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Withdraw the job, whatever its phase; again is harmless. Unread events are dropped.

        A task that still reads gets :class:`~trillama.base.errors.Cancelled`.
        """
        if not self.ended:
            self._mail = []
            self.fail(Cancelled("the answer was cancelled"))

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()

    def __repr__(self) -> str:
        phase = "ended" if self.ended else "running" if self.admitted else "waiting"
        return f"<Answer {self.id} {phase}, {self._output_tokens} tokens, {len(self._mail)} unread>"
