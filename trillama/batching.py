"""The continuous-batching step loop over one shared context.

Owns: the jobs of one engine from submission to their last token, and the order of each step.
Called by: ``runner_pool``'s engine thread (every method belongs to that thread), or by a test in a
plain loop. Asks ``kv`` who fits, the context to decode, ``engine.sampling`` to choose.
Never: sees text, JSON, model names or trio.
A cancel marks the job; the next step releases its sequence first and reports ``Ended``. Trouble
stays with the job that caused it: a full pool evicts cached prefixes, then pauses the youngest job
(it resumes later from its tokens); a bad row or a bad sampler ends one job.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from .base.errors import EngineError, TrillamaError
from .base.events import Admitted, Ended, Sampled, StepEvent, StopReason, TokenScores
from .base.jobs import Job
from .engine.base import Context, DecodeStatus, Ranked
from .engine.budget import LEARN_EVERY, StepBudget
from .engine.choose import Chooser
from .engine.draft_model import DraftModel
from .engine.gang import Gang
from .engine.layout import most_live
from .engine.outcome import Outcome, Rows
from .engine.picks import Picks
from .seats import (
    BatchStatistics,
    Counts,
    Line,
    Memory,
    Plan,
    Policy,
    Rota,
    Seat,
    Speculation,
    dead_end,
    divide,
    load_of,
    summary,
    take_seat,
)

__all__ = ["Batcher", "Policy", "Report"]

MOST_FORCED = 31
"""Tokens a rule may force on an answer in one step, beside the one that is sampled."""

Report: TypeAlias = Callable[[list[StepEvent]], None]


class Batcher:
    """Interleaves all jobs of one context; see the module's text for its rules."""

    def __init__(
        self,
        context: Context,
        policy: Policy | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        draft: DraftModel[Seat] | None = None,
        budget: StepBudget | None = None,
    ) -> None:
        policy, limits = policy or Policy(), context.limits
        self._context = context
        self._clock = clock
        max_live = most_live(limits, policy.max_live)
        self._most_forced = min(MOST_FORCED, limits.batch // max_live - 1)
        self._budget = budget or StepBudget(policy.step_budget, limits)
        self._batch = context.new_batch()
        self._ends = frozenset(np.flatnonzero(context.vocabulary.is_eog).tolist())
        self._memory = Memory(context, reuse=policy.prefix_cache, host_cache=policy.host_cache)
        self._line = Line(self._memory, max_live)
        self._speculation = Speculation(limits, self._budget, on=policy.speculation, model=draft)
        self._chooser, self._outcome = Chooser(limits.sampling_threads), Outcome(context)
        self._seats: dict[str, Seat] = {}
        self._events: list[StepEvent] = []
        self._awake, self._failures = False, 0
        self._counts, self._gang, self._rota = Counts(), Gang(), Rota()

    # -- commands -------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Queue a job; a job that can never run is ended in the next step."""
        self._awake = True
        try:
            seat = take_seat(job, self._context)
        except TrillamaError as error:
            self._events.append(Ended(job.id, StopReason.ERROR, self._clock(), error))
            return
        if job.options.num_predict == 0:
            self._events.append(Ended(job.id, StopReason.LENGTH, self._clock()))
            return
        self._memory.expect(seat)
        self._seats[job.id] = seat
        self._line.join(seat)
        self._gang.came(self._clock(), self._line.waiting, len(job.prompt))

    def cancel(self, job_id: str) -> None:
        """End a job in the next step; unknown and finished ones are ignored."""
        if seat := self._seats.get(job_id):
            seat.cancelled = self._awake = True

    def pause(self, job_id: str) -> None:
        """Stop generating for a job whose reader is slow; it keeps its place while it can."""
        if seat := self._seats.get(job_id):
            seat.paused = True

    def resume(self, job_id: str) -> None:
        """Go on with a paused job."""
        if seat := self._seats.get(job_id):
            seat.paused = False
            self._awake = True

    def drop_cache(self) -> None:
        """Forget all cached prefixes."""
        self._memory.drop_cache()

    def close(self) -> None:
        """Release everything; jobs still here get no further event."""
        for seat in list(self._seats.values()):
            self._leave(seat)
        self.drop_cache()
        self._chooser.close()

    @property
    def has_work(self) -> bool:
        """Whether a step could do anything before the next command arrives."""
        return self._awake

    def linger(self, coming: int = 0) -> int:
        """Nanoseconds the next step may wait for jobs: ``coming`` of them, or such as left."""
        if self._line.live:
            return 0
        return self._gang.linger(self._clock(), self._line.waiting, coming, self._budget.token_ns)

    def statistics(self) -> BatchStatistics:
        """Counts for the metrics and for tests."""
        paused = sum(seat.paused for seat in self._seats.values())
        return summary(self._line, paused, self._counts, self._memory.statistics())

    # -- the step -------------------------------------------------------------------------------

    def step(self, report: Report | None = None) -> list[StepEvent]:
        """Release, admit, decode once, sample; blocks only inside the decode.

        Args:
            report: told what has happened before a decode, as it begins, or as a device has begun
                with it: whoever passes that on does so beside it, and not beside the next step.

        Returns:
            what happened since the last step or report, in order; nothing where the next step will
            report it at once.

        Raises:
            EngineError: the device failed twice running; the context is not usable any more.
        """
        self._release_cancelled()
        self._admit()
        self._memory.trim()
        plan = self._plan()
        self._speculation.add(plan, self._memory)
        self._awake = bool(plan)
        computed = [self._run(part, report) for part in plan.parts(self._budget.run_worth)]
        self._counts.steps += any(computed)
        return [] if report and self._awake and self._line.live else self._take_events()

    def _take_events(self) -> list[StepEvent]:
        events, self._events = self._events, []
        return events

    def _tell(self, report: Report | None) -> None:
        if report and self._events:
            report(self._take_events())

    def _release_cancelled(self) -> None:
        for seat in [seat for seat in self._seats.values() if seat.cancelled]:
            self._end(seat, StopReason.CANCELLED)

    def _admit(self) -> None:
        for seat, cached in self._line.admit():
            if seat.admitted_step < 0:
                self._counts.cached_tokens += cached
                self._events.append(Admitted(seat.job.id, cached, self._clock()))
            seat.admitted_step = self._counts.steps

    # -- planning -------------------------------------------------------------------------------

    def _plan(self) -> Plan:
        """One row for each generating job, then prompt tokens up to the budget."""
        while True:
            live = self._rota.choose([seat for seat in self._line.live if not seat.paused])
            heads = [seat for seat in live if seat.fresh]
            plan = Plan(heads, [], self._context.limits.separate)
            new = plan.new_tokens
            self._memory.make_room(new)
            short = self._memory.free < new
            if not short and len(heads) < len(live):
                plan.chunks = self._chunks(plan, [seat for seat in live if seat.remaining])
            stuck = not plan and bool(live)
            if not (stuck or short) or not self._line.preempt_youngest():
                return plan

    def _chunks(self, plan: Plan, waiting: list[Seat]) -> list[tuple[Seat, int]]:
        """Divide the budget: shortest remaining prompt first, the patient ones helped along."""
        if not waiting:
            return []
        new, worth = plan.new_tokens, self._budget.run_worth
        budget = self._budget.choose(load_of(plan, waiting, self._memory.used, worth))
        budget = min(budget, sum(seat.remaining for seat in waiting))
        self._memory.make_room(new + budget)
        most = min(self._memory.free, self._context.limits.batch) - new
        rows, apart = self._context.limits.outputs - len(plan.heads), plan.by_sequence
        return divide(waiting, min(budget, most), self._counts.steps, most, apart=apart)[:rows]

    # -- decoding -------------------------------------------------------------------------------

    def _run(self, plan: Plan, report: Report | None) -> bool:
        """Decode the plan and sample its rows; False if nothing was computed."""
        plan.forget_departed()
        started = self._clock()
        sampled = self._decode(plan, report) if plan else None
        if sampled is None:
            return False
        logits = self._outcome.rows(sampled, guessed=bool(plan.drafts))
        elapsed = self._clock() - started
        changed = self._rota.spend(elapsed)
        if plan.drafts:
            self._speculation.learn(plan.drafts, elapsed)
        elif not changed and (plan.chunks or not self._counts.steps % LEARN_EVERY):
            self._budget.observe(plan.load(self._memory.used), plan.prompt_tokens, elapsed)
        self._memory.grow_heads(plan.heads)
        for seat, count in plan.chunks:
            self._counts.prompt_tokens += count
            self._memory.grow(seat, count)
            self._memory.publish(seat)
        self._sample(logits, sampled, plan)
        return True

    def _decode(self, plan: Plan, report: Report | None) -> list[Seat] | None:
        """Whose logits there are now, a full pool relieved; None if the plan was given up."""
        while True:
            sampled = plan.fill(self._batch, self._memory.fillers(plan, self._budget.run_worth))
            self._chooser.prepare(sampled)
            if not self._context.limits.asynchronous:
                self._tell(report)
            try:
                self._context.set_adapters(plan.adapters)
                status = self._context.decode(self._batch)
            except EngineError:
                status = DecodeStatus.INVALID
            self._memory.drop_fillers()
            if status is DecodeStatus.OK:
                self._failures = 0
                self._tell(report)
                return sampled
            if status is DecodeStatus.NO_ROOM:
                self._counts.no_room += 1
                if self._relieve(plan):
                    continue
                return None
            self._recover(plan, status)
            return None

    def _relieve(self, plan: Plan) -> bool:
        """Make room the book did not know to be missing; True to try the same plan again."""
        if plan.drafts:
            plan.drafts = {}
            return True
        if self._memory.make_room(self._memory.free + 1):
            return True
        if plan.heads and plan.chunks:
            plan.chunks = []
            return True
        if not self._line.preempt_youngest():
            self._end(self._line.live[0], StopReason.LENGTH)
        return False

    def _recover(self, plan: Plan, status: DecodeStatus) -> None:
        """Bring the library's memory back to what the book says after a failed decode."""
        begun = [] if status is DecodeStatus.INVALID else self._line.live
        broken, spoiled = self._memory.cut_back(plan.seats, begun)
        if status is DecodeStatus.INVALID:
            for seat in plan.seats:
                if seat.place.id in broken or not broken:
                    error = EngineError("the engine refused this sequence")
                    self._end(seat, StopReason.ERROR, error)
        elif status is not DecodeStatus.INTERRUPTED:
            self._failures += 1
            if self._failures > 1:
                raise EngineError(f"decoding failed twice: {status.name.lower()}")
        for seat in reversed(spoiled):
            self._line.requeue(seat, seat.tokens())

    # -- sampling -------------------------------------------------------------------------------

    def _sample(self, logits: Rows, seats: list[Seat], plan: Plan) -> None:
        if plan.drafts and not isinstance(logits, Ranked):
            picks = Picks(self._chooser, logits, seats, plan.drafts)
            for seat in seats:
                self._verify(seat, picks, plan.drafts.get(seat, []))
            return
        tokens, scores = self._chooser.choose(logits, seats)
        now = self._clock()
        for row, (seat, token) in enumerate(zip(seats, tokens, strict=True)):
            self._accept(seat, token, now, scores.get(row))

    def _verify(self, seat: Seat, picks: Picks[Seat], draft: list[int]) -> None:
        """Sample a seat's rows as long as what comes out is what the next row was computed with."""
        seat.ahead, row, now = draft.copy(), 0, self._clock()
        seat.drafted += len(draft)
        self._counts.drafted += len(draft)
        while True:
            token, scores = picks.pick(seat, row)
            self._accept(seat, token, now, scores)
            if seat.sequence is None or seat.pending:
                break
            row = len(draft) - len(seat.ahead)
        picks.used(seat, row + 1)
        self._memory.cut(seat)
        if draft:
            self._speculation.checked(seat, len(draft), len(draft) - len(seat.ahead))
        seat.ahead = []

    def _accept(self, seat: Seat, token: int, now: int, scores: TokenScores | None) -> None:
        """Add a token and what a guide forces after it, and see whether that is the end."""
        if token < 0:
            self._end(seat, StopReason.ERROR, dead_end(seat))
            return
        if token in self._ends:
            self._end(seat, StopReason.STOP)
            return
        job, guide = seat.job, seat.job.guide
        seat.pending = 0
        self._say(seat, Sampled(job.id, token, now, scores))
        if guide is not None:
            for forced in guide.forced(min(seat.leeway, self._most_forced)):
                self._say(seat, Sampled(job.id, forced, now))
        enough = 0 <= job.options.num_predict <= seat.produced
        full = len(seat.known) + len(seat.fresh) >= seat.limit
        if guide is not None and guide.done:
            seat.fulfilled = True
            self._end(seat, StopReason.STOP)
        elif enough or (full and not self._slide(seat)):
            self._end(seat, StopReason.LENGTH)

    def _say(self, seat: Seat, event: Sampled) -> None:
        """Note a token of the answer, to be computed in the next step."""
        token = event.token
        seat.sampler.accept(token)
        seat.fresh.append(token)
        if seat.ahead and not seat.pending and seat.ahead[0] == token:
            del seat.ahead[0]
            self._memory.grow(seat, 1)
            seat.accepted += 1
            self._counts.accepted += 1
        else:
            seat.pending += 1
        seat.produced += 1
        self._counts.output_tokens += 1
        self._events.append(event)

    def _slide(self, seat: Seat) -> bool:
        """Shift the window of a full sequence; False where the job or its size forbids it."""
        keep, discard = seat.overflow()
        if not discard:
            return False
        tokens = seat.tokens()
        shorter = np.delete(tokens, slice(keep, keep + discard))
        seat.shifted += discard
        if self._memory.shift(seat, keep, discard):
            seat.known, seat.fresh = shorter[:-1], [int(shorter[-1])]
        else:
            self._line.requeue(seat, shorter)
        return True

    # -- leaving --------------------------------------------------------------------------------

    def _end(self, seat: Seat, reason: StopReason, error: TrillamaError | None = None) -> None:
        self._leave(seat)
        now = self._clock()
        if reason in (StopReason.STOP, StopReason.LENGTH):
            self._gang.left(now)
        told = (error, seat.shifted, seat.fulfilled, seat.drafted, seat.accepted)
        self._events.append(Ended(seat.job.id, reason, now, *told))

    def _leave(self, seat: Seat) -> None:
        del self._seats[seat.job.id]
        self._line.leave(seat)
        self._speculation.leave(seat)
        if seat.chain:
            seat.chain.close()

    def check(self) -> None:
        """Verify the book and that the library agrees with it."""
        self._memory.check(self._line.live)
