"""A runner answers many at once, keeps trouble with whom it belongs to, and frees its model."""

from __future__ import annotations

import dataclasses
import gc
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.runners import (
    PATIENCE,
    Gate,
    admitted,
    fake_spec,
    idle,
    job,
    read,
    running,
    settled,
    until,
)
from trillama.base.durations import SECOND
from trillama.base.errors import (
    BadRequest,
    Busy,
    EngineError,
    ModelLoadError,
    PromptTooLong,
    ShuttingDown,
)
from trillama.base.events import StopReason, Text
from trillama.batching import Batcher
from trillama.engine.base import DecodeStatus
from trillama.engine.embedding import EmbeddingParams
from trillama.engine.fake import FakeBackend, Hooks, babble, babble_for, count, fixed
from trillama.engine.gang import PATIENCE_NS
from trillama.runner_pool import MAILBOX, Runner, RunnerPool, RunnerState
from trillama.runners.machine import EngineMachine
from trillama.runners.vocabularies import MAX_TEXT


@pytest.fixture
def hooks() -> Hooks:
    return Hooks()


@pytest.fixture
def backend(hooks: Hooks) -> FakeBackend:
    """Echoes what it is told to repeat."""
    return FakeBackend(hooks=hooks)


@pytest.fixture
def pool(backend: FakeBackend) -> Iterator[RunnerPool]:
    pool = RunnerPool(backend)
    yield pool
    pool.close()


def gone(backend: FakeBackend) -> bool:
    """Nothing of any model is left."""
    return not (backend.open_models or backend.open_contexts)


# -- starting and ending --------------------------------------------------------------------------


async def test_started_means_ready(pool: RunnerPool, backend: FakeBackend) -> None:
    """When start returns, the weights are mapped and a decode has been proved."""
    fractions: list[float] = []
    async with trio.open_nursery() as nursery:
        runner = await pool.start(fake_spec(), nursery, fractions.append)
        assert runner.state is RunnerState.READY
        assert fractions == [0.25, 0.5, 0.75, 1.0]
        assert runner.progress == 1.0
        assert backend.contexts[0].counters.decodes >= 1
        assert backend.contexts[0].cells_used == 0
        assert runner.limits.cells == 4096
        assert runner.facts.size == backend.models[0].facts.size
        assert repr(runner) == "<Runner m ready, 0 answers>"
        assert pool.residents == [runner]
        await runner.aclose()
    assert runner.state is RunnerState.STOPPED
    assert gone(backend)
    assert pool.statistics().runners == ()


async def test_closing_twice_is_harmless(pool: RunnerPool, backend: FakeBackend) -> None:
    """A closed runner stays closed and refuses work."""
    async with running(pool, fake_spec()) as runner:
        await runner.aclose()
        with pytest.raises(ShuttingDown):
            runner.submit_nowait(job("x"))
        with pytest.raises(ShuttingDown):
            await runner.tokenize("x")
    assert gone(backend)


@pytest.mark.parametrize(
    "trouble", [ModelLoadError("bad file"), OSError("disk"), MemoryError("all of it")]
)
async def test_a_load_that_fails(
    pool: RunnerPool, backend: FakeBackend, hooks: Hooks, trouble: Exception
) -> None:
    """Whatever a load raises reaches the caller as a ModelLoadError, and nothing is left."""

    def on_open(params: object) -> None:
        raise trouble

    hooks.on_open = on_open
    async with trio.open_nursery() as nursery:
        with pytest.raises(ModelLoadError, match=str(trouble)):
            await pool.start(fake_spec(), nursery)
    assert gone(backend)
    assert pool.residents == []


async def test_a_model_that_cannot_decode_never_starts(
    pool: RunnerPool, backend: FakeBackend, hooks: Hooks
) -> None:
    """A failing warm-up is a failed load, seen before the first request."""
    hooks.fail[0] = DecodeStatus.COMPUTE_FAILED
    async with trio.open_nursery() as nursery:
        with pytest.raises(ModelLoadError):
            await pool.start(fake_spec(), nursery)
    assert gone(backend)


async def test_no_thread_left(pool: RunnerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without threads fails the load, not the server."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    async with trio.open_nursery() as nursery:
        with pytest.raises(ModelLoadError, match="can't start new thread"):
            await pool.start(fake_spec(), nursery)
    assert pool.residents == []


async def test_a_closed_runner_waits_for_no_garbage_collector(backend: FakeBackend) -> None:
    """What a model had in Python's memory goes when its last user lets go of the runner."""
    pool = RunnerPool(backend)
    spec = fake_spec(embedding=EmbeddingParams(batch=64, sequences=16, longest=64))
    gc.collect()
    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            runner = await pool.start(spec, nursery)
            await read(runner.submit_nowait(job("one")))
            await runner.embed([np.arange(8, dtype=np.int32)])
            await runner.aclose()
        assert pool.residents == []
        kept = [weakref.ref(part) for part in (runner, runner._machine, runner._machine.batcher)]
        with trio.fail_after(PATIENCE):
            await trio.to_thread.run_sync(runner._thread._thread.join)
        del runner
        assert [part() for part in kept] == [None] * 3
    finally:
        gc.enable()
        pool.close()


async def test_a_cancelled_load_is_given_up(
    pool: RunnerPool, backend: FakeBackend, hooks: Hooks
) -> None:
    """Cancelling start stops the load at its next progress report and frees everything."""
    inside, go_on, fractions = trio.Event(), threading.Event(), []
    token = trio.lowlevel.current_trio_token()

    def on_load(path: str, params: object) -> None:
        token.run_sync_soon(inside.set)
        assert go_on.wait(PATIENCE)

    hooks.on_load = on_load
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.start, fake_spec(), nursery, fractions.append)
        await inside.wait()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        go_on.set()
    assert gone(backend)
    assert backend.models == []
    assert pool.residents == []
    assert 1.0 not in fractions


async def test_an_engine_that_dies(pool: RunnerPool, backend: FakeBackend, hooks: Hooks) -> None:
    """All its answers end with EngineError, it takes no more, and what it held is freed."""
    backend = pool.backend = FakeBackend(babble, hooks=hooks)
    async with running(pool, fake_spec()) as runner:
        answers = [runner.submit_nowait(job(f"{n}")) for n in range(3)]
        await answers[2].receive_many()
        hooks.fail.update(dict.fromkeys(range(10_000), DecodeStatus.COMPUTE_FAILED))
        for answer in answers:
            with pytest.raises(EngineError, match="has stopped"):
                await read(answer)
        await runner.wait_over()
        assert runner.state is RunnerState.FAILED
        with pytest.raises(EngineError):
            runner.submit_nowait(job("x"))
        with pytest.raises(EngineError):
            await runner.tokenize("x")
        await runner.aclose()
        assert runner.state is RunnerState.FAILED
    assert gone(backend)


async def test_drain_lets_answers_finish(pool: RunnerPool, hooks: Hooks) -> None:
    """A draining runner refuses new jobs and waits for the running ones."""
    pool.backend = FakeBackend(count(50), hooks=hooks)
    gate = hooks.on_decode = Gate()
    async with running(pool, fake_spec()) as runner, trio.open_nursery() as nursery:
        gate.close_at(lambda batch: True)
        answer = runner.submit_nowait(job("x"))
        outcome: list[bool] = []

        async def drain() -> None:
            outcome.append(await runner.drain())

        nursery.start_soon(drain)
        await wait_all_tasks_blocked()
        with pytest.raises(ShuttingDown):
            runner.submit_nowait(job("y"))
        gate.open()
        text, done = await read(answer)
        assert (len(text), done.reason) == (50, StopReason.STOP)
    assert outcome == [True]


async def test_drain_ends_what_is_left_at_its_deadline(pool: RunnerPool) -> None:
    """At the deadline streams get a terminal event, not silence."""
    pool.backend = FakeBackend(babble)
    async with running(pool, fake_spec(cells=1 << 20)) as runner:
        answer = runner.submit_nowait(job("x", limit=1 << 20))
        await answer.receive_many()
        assert not await runner.drain(trio.current_time())
        with pytest.raises(ShuttingDown):
            await read(answer)
        await until(lambda: runner.statistics().batch.generating == 0, runner)


# -- answering ------------------------------------------------------------------------------------


async def test_an_answer_from_end_to_end(pool: RunnerPool) -> None:
    """Tokens arrive as text one by one, with their ids, and the counts are the real ones."""
    async with running(pool, fake_spec()) as runner:
        prompt = await runner.tokenize('Repeat: "canary"')
        assert prompt.tolist() == list(b'Repeat: "canary"')
        with runner.submit_nowait(job('Repeat: "canary"')) as answer:
            events = [event async for event in answer]
        *texts, done = events
        assert texts == [Text(letter, (ord(letter),)) for letter in "canary"]
        assert done.reason is StopReason.STOP
        assert (done.usage.prompt_tokens, done.usage.output_tokens) == (16, 7)
        assert done.usage.prompt_ns > 0
        assert done.usage.output_ns > 0
        assert await answer.receive_many() == []


async def test_many_answers_at_once(pool: RunnerPool, backend: FakeBackend) -> None:
    """Every one of many streams gets its own answer, complete, from shared steps."""
    async with running(pool, fake_spec(cells=1 << 15)) as runner:
        found: dict[int, str] = {}

        async def ask(number: int) -> None:
            with runner.submit_nowait(job(f'Repeat: "canary number {number}"')) as answer:
                found[number] = (await read(answer))[0]

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, number)
        assert found == {number: f"canary number {number}" for number in range(100)}
        assert backend.contexts[0].counters.max_outputs > 1
        await idle(runner)
        assert backend.contexts[0].cells_used == 0
        assert runner.statistics().totals.ended == 100


async def test_a_stop_string_ends_the_answer_and_frees_the_sequence(pool: RunnerPool) -> None:
    """The text before the stop string is shown, the engine stops, and the reason says so."""
    pool.backend = backend = FakeBackend(fixed("one two three four"))
    async with running(pool, fake_spec()) as runner:
        answer = runner.submit_nowait(job("x", stop=(" thr",)))
        text, done = await read(answer)
        assert (text, done.reason) == ("one two", StopReason.STOP)
        assert done.usage.output_tokens == len("one two thr")
        await until(lambda: backend.contexts[0].cells_used == 0, runner)


async def test_a_job_that_cannot_run_fails_alone(pool: RunnerPool) -> None:
    """Its error reaches its own reader; a neighbour's answer is whole."""
    async with running(pool, fake_spec(cells=128)) as runner:
        bad = runner.submit_nowait(job("x" * 1000))
        good = runner.submit_nowait(job('Repeat: "fine"'))
        with pytest.raises(PromptTooLong):
            await read(bad)
        assert (await read(good))[0] == "fine"


async def test_too_many_waiting_jobs_are_refused(pool: RunnerPool, hooks: Hooks) -> None:
    """Jobs beyond the bound are told when to come back; admitted ones do not count."""
    gate = hooks.on_decode = Gate()
    async with running(pool, fake_spec(max_live=1, max_queue=2)) as runner:
        gate.close_at(lambda batch: True)
        answers = [runner.submit_nowait(job('Repeat: "a"'))]
        await admitted(answers[0])
        answers += [runner.submit_nowait(job(f'Repeat: "{name}"')) for name in "bc"]
        with pytest.raises(Busy) as refusal:
            runner.submit_nowait(job("d"))
        message = "server busy, please try again.  maximum pending requests exceeded"
        assert refusal.value.message == message
        assert 1 <= refusal.value.retry_after <= 60
        assert runner.statistics().totals.refused == 1
        gate.open()
        assert [(await read(answer))[0] for answer in answers] == ["a", "b", "c"]


async def test_two_jobs_of_one_id_are_a_mistake(pool: RunnerPool, hooks: Hooks) -> None:
    """An id names one answer; a second one of the name is refused before the engine sees it."""
    gate = hooks.on_decode = Gate()
    async with running(pool, fake_spec()) as runner:
        gate.close_at(lambda batch: True)
        twice = job('Repeat: "a"')
        answer = runner.submit_nowait(twice)
        with pytest.raises(ValueError, match="already"):
            runner.submit_nowait(twice)
        gate.open()
        assert (await read(answer))[0] == "a"


async def test_a_slow_reader_pauses_alone(pool: RunnerPool) -> None:
    """A job nobody reads stops near its mailbox's size; others run on; nothing is lost."""
    pool.backend = FakeBackend(babble_for(2000))
    async with running(pool, fake_spec(cells=1 << 14)) as runner:
        slow = runner.submit_nowait(job("slow", limit=1 << 14))
        await until(lambda: slow.paused, runner)
        quick = runner.submit_nowait(job("slow", limit=1 << 14))
        text, _ = await read(quick)
        assert len("slow" + text) == 2000
        statistics = runner.statistics()
        assert (statistics.running, statistics.paused) == (1, 1)
        assert MAILBOX <= len(slow._mail) < 1500  # what came until the engine heard of it
        assert (await read(slow))[0] == text
        assert runner.statistics().paused == 0


async def test_a_reader_that_lags_gets_several_events_at_once(pool: RunnerPool) -> None:
    """receive_many hands out all there is, in order, one event per token."""
    pool.backend = FakeBackend(count(100))
    async with running(pool, fake_spec()) as runner:
        answer = runner.submit_nowait(job("x"))
        await until(lambda: answer.ended, runner)
        events = await answer.receive_many()
        assert len(events) == 101
        assert await answer.receive_many() == []


async def test_an_idle_engine_does_not_step(pool: RunnerPool, backend: FakeBackend) -> None:
    """Once nothing is left to do the engine thread takes no more steps."""
    async with running(pool, fake_spec()) as runner:
        await read(runner.submit_nowait(job('Repeat: "a"')))
        await idle(runner)
        decodes = backend.contexts[0].counters.decodes
        steps = runner.statistics().batch.steps
        for _ in range(20):
            await settled(runner)
        assert backend.contexts[0].counters.decodes == decodes
        assert runner.statistics().batch.steps == steps


async def test_all_paused_is_idle(pool: RunnerPool) -> None:
    """An engine whose only reader is slow waits too; it does not spin."""
    pool.backend = FakeBackend(babble)
    async with running(pool, fake_spec(cells=1 << 14)) as runner:
        with runner.submit_nowait(job("x", limit=1 << 14)) as answer:
            await until(lambda: answer.paused, runner)
            await idle(runner)


# -- tokenising -----------------------------------------------------------------------------------


async def test_texts_beyond_the_cap_are_refused(pool: RunnerPool) -> None:
    """A text too long to be looked at is the client's mistake."""
    async with running(pool, fake_spec()) as runner:
        with pytest.raises(BadRequest, match="more than"):
            await runner.tokenize("x" * (MAX_TEXT + 1))


def _hold_tokenizer(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> tuple[trio.Event, object]:
    """Make tokenising wait; returns (reached, go on)."""
    reached, go_on = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def tokenize(text: str, **flags: bool) -> str:
        token.run_sync_soon(reached.set)
        assert go_on.wait(PATIENCE)
        return threading.current_thread().name

    monkeypatch.setattr(runner.vocabulary, "tokenize", tokenize)
    return reached, go_on


async def test_a_model_is_not_freed_under_a_tokenizer(
    pool: RunnerPool, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing waits for a text still being tokenised, though its client has left."""
    async with running(pool, fake_spec()) as runner, trio.open_nursery() as nursery:
        reached, go_on = _hold_tokenizer(runner, monkeypatch)
        async with trio.open_nursery() as client:
            client.start_soon(runner.tokenize, "x")
            await reached.wait()
            client.cancel_scope.cancel()
        assert runner.statistics().tokenizing == 1
        nursery.start_soon(runner.aclose)
        await wait_all_tasks_blocked()
        await settled(runner)  # the engine thread still obeys
        assert backend.open_models == 1
        go_on.set()
    assert gone(backend)


async def test_tokenizing_happens_on_its_own_threads(
    pool: RunnerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither trio's thread nor the engine's tokenises."""
    async with running(pool, fake_spec()) as runner:
        _, go_on = _hold_tokenizer(runner, monkeypatch)
        go_on.set()
        assert str(await runner.tokenize("x")).startswith("tokenizer:")


async def make_ready(runner: Runner) -> None:
    """A prompt, as whoever will submit it does."""
    with runner.expecting():
        await runner.tokenize("x")


async def test_prompts_that_are_made_ready_are_waited_for(
    pool: RunnerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle engine lingers with the first of a crowd while another prompt is on its way to it,
    and no longer than that: also where the client of the other one leaves."""
    now = 0
    monkeypatch.setattr(Batcher.__init__, "__kwdefaults__", {"clock": lambda: now})
    machine = EngineMachine(fake_spec(), FakeBackend(fixed("ok")))
    machine.open()
    machine.batcher.submit(job("x" * 1000))
    assert machine.linger == 0, "a lone client is not held"
    async with running(pool, fake_spec()) as runner:
        reached, go_on = _hold_tokenizer(runner, monkeypatch)
        async with trio.open_nursery() as client:
            client.start_soon(make_ready, runner)
            await reached.wait()
            machine.coming = runner.statistics().coming
            assert machine.linger == PATIENCE_NS / SECOND
            now = PATIENCE_NS
            assert machine.linger == 0, "not for ever"
            client.cancel_scope.cancel()
        assert runner.statistics().coming == 0
        go_on.set()
    machine.close()


def test_a_crowd_that_waited_for_the_model_begins_in_one_step() -> None:
    """The warm-up has shown how quick the machine is; who begins together stays together."""
    rows: list[int] = []
    backend = FakeBackend(fixed("ok"), hooks=Hooks(on_decode=lambda batch: rows.append(batch.size)))
    machine = EngineMachine(fake_spec(), backend)
    machine.open()
    rows.clear()
    for _ in range(5):
        machine.batcher.submit(job("x" * 100))
    machine.step()
    assert rows == [500]
    machine.close()


def test_the_queue_is_as_long_for_streams_as_for_a_pool() -> None:
    """Its tokens are counted in pools: streams are so many times the cells of one."""
    pool, streams = fake_spec(cells=4096), fake_spec(cells=4096)
    streams = dataclasses.replace(
        streams, context=dataclasses.replace(streams.context, cells=64, streams=64)
    )
    assert streams.most_queued_tokens == pool.most_queued_tokens > 4096
