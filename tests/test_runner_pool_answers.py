"""An answer is exact in text, counts and times, and has exactly one end."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.runners import fake_spec, job, read
from trillama.base.durations import FOREVER, SECOND
from trillama.base.errors import Cancelled, EngineError, StalledReader
from trillama.base.events import (
    Admitted,
    Done,
    Ended,
    Sampled,
    StepEvent,
    StopReason,
    Text,
    Usage,
)
from trillama.engine.fake import FakeVocabulary
from trillama.engine.text import TextStream
from trillama.runner_pool import Answer, Pace
from trillama.runners.roster import Roster


@dataclass
class Controls:
    """Notes what an answer asks of its runner."""

    asked: list[str] = field(default_factory=list)

    def cancel_job(self, answer: Answer) -> None:
        self.asked.append("cancel")

    def pause_job(self, answer: Answer) -> None:
        self.asked.append("pause")

    def resume_job(self, answer: Answer) -> None:
        self.asked.append("resume")

    def answer_ended(self, answer: Answer) -> None:
        self.asked.append("ended")


def make(*stop: str, controls: Controls | None = None, capacity: int = 8) -> Answer:
    work = job("four")
    work.submitted = 100
    text = TextStream(FakeVocabulary(), stop)
    return Answer(work, text, controls or Controls(), capacity=capacity)


def say(answer: Answer, text: str, at: int = 0) -> None:
    for token in text.encode():
        answer.deliver(Sampled(answer.id, token, at))


def end(answer: Answer, reason: StopReason = StopReason.STOP, at: int = 0) -> None:
    answer.deliver(Ended(answer.id, reason, at))


async def everything(answer: Answer) -> list[object]:
    return [event async for event in answer]


# -- text and counts ------------------------------------------------------------------------------


async def test_counts_and_durations_come_from_the_events() -> None:
    """Every number of the usage is what the engine's stamps say, to the nanosecond."""
    answer = make()
    answer.deliver(Admitted(answer.id, cached=3, at=150))
    say(answer, "a", at=400)
    say(answer, "b", at=500)
    answer.deliver(Ended(answer.id, StopReason.LENGTH, at=525, shifted=7))
    usage = Usage(
        prompt_tokens=4,
        cached_tokens=3,
        output_tokens=2,
        queue_ns=50,
        prompt_ns=250,
        output_ns=125,
    )
    done = Done(StopReason.LENGTH, usage, shifted=7)
    assert await everything(answer) == [Text("a", (97,)), Text("b", (98,)), done]


async def test_the_ending_token_counts() -> None:
    """A generation that ends by itself has sampled one token more than it shows."""
    answer = make()
    answer.deliver(Admitted(answer.id, 0, 150))
    end(answer, at=200)
    [done] = await everything(answer)
    assert done.usage.output_tokens == 1
    assert (done.usage.prompt_ns, done.usage.output_ns) == (50, 0)


async def test_a_character_in_several_tokens_is_one_text() -> None:
    """Text is whole characters, with the ids of all tokens it came from."""
    answer = make()
    say(answer, "é€")
    end(answer)
    *texts, done = await everything(answer)
    assert texts == [Text("é", (0xC3, 0xA9)), Text("€", (0xE2, 0x82, 0xAC))]
    assert done.usage.output_tokens == 6


async def test_what_was_held_back_is_shown_at_the_end() -> None:
    """The beginning of a stop string that never came belongs to the answer."""
    answer = make("xyz")
    say(answer, "axy")
    end(answer, StopReason.LENGTH)
    text, done = await read(answer)
    assert (text, done.reason) == ("axy", StopReason.LENGTH)


async def test_a_reader_that_has_enough_stops_the_answer() -> None:
    """What has come stays, the job leaves the engine, and there is one end; again is harmless."""
    controls = Controls()
    answer = make(controls=controls)
    say(answer, "ab")
    answer.stop()
    answer.stop()
    assert controls.asked == ["cancel", "ended"]
    text, done = await read(answer)
    assert (text, done.reason, done.usage.output_tokens) == ("ab", StopReason.STOP, 2)


@pytest.mark.parametrize("last", [False, True])
async def test_an_answer_may_be_stopped_by_what_taps_it(last: bool) -> None:
    """In the very call that brings the text, be it the last one that was held back."""
    controls = Controls()
    answer = make("xyz", controls=controls)
    seen: list[str] = []

    def tap(said: Text) -> bool:
        seen.append(said.text)
        if said.text in ("x", "xa"):
            answer.stop()
        return True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer.receive_many, tap)
        await trio.testing.wait_all_tasks_blocked()
        say(answer, "ax" if last else "axa")
        end(answer, StopReason.LENGTH)
    assert seen == (["a", "x"] if last else ["a", "xa"])
    assert controls.asked.count("ended") == 1


async def test_a_stop_string_completed_by_the_end() -> None:
    """Half a character at the end is shown as U+FFFD, unless that is where to stop."""
    answer = make("\N{REPLACEMENT CHARACTER}")
    say(answer, "ab")
    answer.deliver(Sampled(answer.id, 0xC3, 0))
    end(answer, StopReason.LENGTH)
    text, done = await read(answer)
    assert (text, done.reason) == ("ab", StopReason.STOP)


async def test_a_stop_string_ends_at_once() -> None:
    """Nothing is shown from the stop string on, and the engine is told to stop, once."""
    controls = Controls()
    answer = make("stop", controls=controls)
    answer.deliver(Admitted(answer.id, 0, 150))
    say(answer, "ok stop", at=300)
    assert controls.asked == ["cancel", "ended"]
    text, done = await read(answer)
    assert (text, done.reason, done.usage.output_tokens) == ("ok ", StopReason.STOP, 7)


# -- reading --------------------------------------------------------------------------------------


async def test_a_reader_is_woken_by_text(autojump_clock: MockClock) -> None:
    """A waiting reader gets what comes, and the iteration ends after Done."""
    answer = make()
    found: list[object] = []

    async def follow() -> None:
        found.extend(await everything(answer))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        for letter in "abc":
            await trio.sleep(1)
            say(answer, letter)
        await trio.sleep(1)
        end(answer)
    assert "".join(event.text for event in found[:-1]) == "abc"  # type: ignore[attr-defined]
    assert await answer.receive_many() == []


async def test_an_error_comes_after_what_was_said() -> None:
    """The text before a failure is delivered, then the failure, again and again."""
    controls = Controls()
    answer = make(controls=controls)
    say(answer, "ab")
    answer.deliver(Ended(answer.id, StopReason.ERROR, 0, EngineError("broken")))
    assert len(await answer.receive_many()) == 2
    for _ in range(2):
        with pytest.raises(EngineError, match="broken"):
            await answer.receive_many()
    assert controls.asked == ["ended"]


async def test_only_one_task_reads() -> None:
    """A second reader is a mistake that shows at once."""
    answer = make()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer.receive_many)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await answer.receive_many()
        end(answer)


async def test_trouble_with_text_stays_with_the_answer() -> None:
    """An impossible token ends its own answer and nothing else."""
    controls = Controls()
    answer = make(controls=controls)
    answer.deliver(Sampled(answer.id, 1_000_000, 0))
    assert controls.asked == ["cancel", "ended"]
    with pytest.raises(EngineError, match="turning tokens into text"):
        await answer.receive_many()


async def test_a_full_mailbox_pauses_and_half_a_mailbox_resumes() -> None:
    """The job pauses once at the brim and goes on when less than half is unread."""
    controls = Controls()
    answer = make(controls=controls, capacity=8)
    say(answer, "1234567")
    assert controls.asked == []
    say(answer, "8")
    say(answer, "90")
    assert controls.asked == ["pause"]
    for _ in range(6):
        await answer.__anext__()
    assert controls.asked == ["pause"]
    await answer.__anext__()
    assert controls.asked == ["pause", "resume"]
    say(answer, "abcdefgh")
    assert controls.asked == ["pause", "resume", "pause"]
    assert len(await answer.receive_many()) == 11
    assert controls.asked == ["pause", "resume", "pause", "resume"]


# -- leaving --------------------------------------------------------------------------------------


async def test_leaving_by_any_road_cancels_once() -> None:
    """The with block withdraws the job whether it is left by its end or by an exception."""
    controls = Controls()
    with pytest.raises(KeyError), make(controls=controls) as answer:
        raise KeyError
    answer.cancel()
    assert controls.asked == ["cancel", "ended"]


async def test_leaving_after_the_end_asks_nothing() -> None:
    """A finished answer needs no cancel."""
    controls = Controls()
    with make(controls=controls) as answer:
        end(answer)
        await everything(answer)
    assert controls.asked == ["ended"]


async def test_a_cancel_wakes_a_reader_in_another_task() -> None:
    """Who waits for text of a withdrawn answer gets Cancelled, not silence."""
    answer = make()
    say(answer, "unread")
    await answer.receive_many()
    async with trio.open_nursery() as nursery:

        async def follow() -> None:
            with pytest.raises(Cancelled):
                await answer.receive_many()

        nursery.start_soon(follow)
        await wait_all_tasks_blocked()
        answer.cancel()


# -- past the mailbox -----------------------------------------------------------------------------


class Tap:
    """Takes texts; refuses from ``most`` of them on."""

    def __init__(self, most: int = 99) -> None:
        self.most = most
        self.taken = ""

    def __call__(self, said: Text) -> bool:
        self.taken += said.text
        return len(self.taken) < self.most


async def test_a_tap_takes_what_comes_while_the_reader_waits() -> None:
    """What lay in the mailbox and how it ends are read; what came between is not read again."""
    answer, tap = make(), Tap()
    say(answer, "ab")
    assert [event.text for event in await answer.receive_many(tap)] == ["a", "b"]  # type: ignore[union-attr]
    say(answer, "c")
    await answer.receive_many(tap)
    assert tap.taken == ""
    async with trio.open_nursery() as nursery:
        found = follow(nursery, answer, tap)
        await wait_all_tasks_blocked()
        say(answer, "de")
        await wait_all_tasks_blocked()
        assert (tap.taken, found) == ("de", [])
        end(answer)
    assert [type(event) for event in found] == [Done]


async def test_a_tap_that_refuses_wakes_the_reader() -> None:
    """It keeps what it was given; all that follows waits in the mailbox."""
    answer, tap = make(), Tap(most=2)
    async with trio.open_nursery() as nursery:
        found = follow(nursery, answer, tap)
        await wait_all_tasks_blocked()
        say(answer, "abcd")
    assert tap.taken == "ab"
    assert [event.text for event in found] == ["c", "d"]  # type: ignore[attr-defined]
    async with trio.open_nursery() as nursery:
        found = follow(nursery, answer, tap)
        await wait_all_tasks_blocked()
        say(answer, "e")
    assert (tap.taken, found) == ("abe", [])


async def test_a_tap_is_off_once_its_reader_has_left() -> None:
    """A cancelled reader's tap is given nothing, not even before the reader runs again."""
    answer, tap = make(), Tap()
    async with trio.open_nursery() as nursery:
        follow(nursery, answer, tap)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        say(answer, "a")
    say(answer, "b")
    assert tap.taken == ""
    assert len(await answer.receive_many()) == 2


async def test_trouble_in_a_tap_stays_with_the_answer() -> None:
    """It ends the answer with an error; the step loop never sees it."""
    controls = Controls()
    answer = make(controls=controls)

    async def wait() -> None:
        with pytest.raises(EngineError, match="turning tokens into text"):
            await answer.receive_many(lambda said: 1 // 0 > 0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        say(answer, "a")
    assert controls.asked == ["cancel", "ended"]


def follow(nursery: trio.Nursery, answer: Answer, tap: Tap) -> list[object]:
    """Reads once in a task of its own."""
    found: list[object] = []

    async def read_once() -> None:
        found.extend(await answer.receive_many(tap))

    nursery.start_soon(read_once)
    return found


# -- slow readers ---------------------------------------------------------------------------------


@dataclass
class Desk:
    """A roster over an engine that only notes what is posted."""

    roster: Roster
    posted: list[tuple[str, object]]

    def submit(self) -> Answer:
        return self.roster.submit(job("x"))

    def fill(self, answer: Answer) -> None:
        events: list[StepEvent] = [Sampled(answer.id, 97, 0)] * 256
        self.roster.deliver(events)


def make_desk(stall_timeout: int) -> Desk:
    posted: list[tuple[str, object]] = []
    commands = {name: name for name in ("submit", "cancel", "pause", "resume")}
    machine = SimpleNamespace(
        model=SimpleNamespace(vocabulary=FakeVocabulary()), batcher=SimpleNamespace(**commands)
    )
    thread = SimpleNamespace(post=lambda command, what: posted.append((command, what)))
    spec = fake_spec(stall_timeout=stall_timeout)
    return Desk(Roster(spec, thread, machine), posted)  # type: ignore[arg-type]


async def test_a_stalled_reader_is_given_up(autojump_clock: MockClock) -> None:
    """A full mailbox nobody reads for the limit ends that answer alone, and frees its sequence."""
    desk = make_desk(60 * SECOND)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.roster.end_overdue)
        slow, other = desk.submit(), desk.submit()
        await trio.sleep(1000)
        desk.fill(slow)
        await trio.sleep(59)
        assert not slow.ended
        await trio.sleep(2)
        assert slow.ended
        assert not other.ended
        assert desk.posted[-1] == ("cancel", slow.id)
        assert desk.roster.totals.stalled == 1
        assert len(await slow.receive_many()) == 256
        with pytest.raises(StalledReader):
            await slow.receive_many()
        nursery.cancel_scope.cancel()


async def test_a_reader_that_reads_a_little_is_not_stalled(autojump_clock: MockClock) -> None:
    """The limit is on silence: one event now and then keeps the answer."""
    desk = make_desk(60 * SECOND)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.roster.end_overdue)
        answer = desk.submit()
        desk.fill(answer)
        for _ in range(10):
            await trio.sleep(50)
            await answer.__anext__()
        assert not answer.ended
        await trio.sleep(61)
        assert answer.ended
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("timeout", [0, FOREVER])
async def test_no_stall_limit(autojump_clock: MockClock, timeout: int) -> None:
    """Zero and for ever both mean that a reader may take its time."""
    desk = make_desk(timeout)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.roster.end_overdue)
        answer = desk.submit()
        desk.fill(answer)
        await trio.sleep(1e7)
        assert not answer.ended
        nursery.cancel_scope.cancel()


async def test_what_comes_after_the_end_is_dropped() -> None:
    """Events of a job whose answer has ended concern nobody."""
    desk = make_desk(0)
    answer = desk.submit()
    answer.cancel()
    desk.roster.deliver([Sampled(answer.id, 97, 0), Ended(answer.id, StopReason.CANCELLED, 0)])
    assert len(desk.roster) == 0
    assert desk.roster.totals.ended == 1


# -- pace -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ticks", "now", "waiting", "seconds"),
    [
        ([], 100.0, 50, 1),
        ([0.0, 1.0, 2.0, 3.0], 4.0, 20, 20),
        ([0.0, 0.1, 0.2, 0.3], 0.4, 20, 2),
        ([0.0], 1000.0, 20, 60),
        ([5.0], 5.0, 1, 1),
    ],
)
def test_retry_after_is_measured(
    ticks: list[float], now: float, waiting: int, seconds: int
) -> None:
    """Waiting jobs divided by the rate at which jobs end, within a second and a minute."""
    pace = Pace()
    for tick in ticks:
        pace.tick(tick)
    assert pace.retry_after(waiting, now) == seconds
