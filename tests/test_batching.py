"""The step loop in a plain loop: no thread, no clock, a scripted engine with a modelled KV."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest

from trillama.base.errors import BadRequest, EngineError, PromptTooLong
from trillama.base.events import Admitted, Ended, Sampled, StepEvent, StopReason
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher, Policy
from trillama.engine.base import Batch, ContextParams, DecodeStatus
from trillama.engine.fake import (
    FakeContext,
    Hooks,
    Script,
    babble,
    babble_for,
    echo_canary,
    fixed,
    open_fake_context,
)

GREEDY = Options(temperature=0)


class Engine:
    """A batcher on a fake context, with what it said sorted by job."""

    def __init__(
        self,
        script: Script = echo_canary,
        *,
        cells: int = 1024,
        sequences: int = 16,
        policy: Policy | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        params = ContextParams(cells=cells, sequences=sequences, outputs=64, batch=256)
        self.context: FakeContext = open_fake_context(script, params, hooks=hooks)
        self.batcher = Batcher(self.context, policy or Policy(step_budget="off"))
        self.events: list[StepEvent] = []
        self.tokens: dict[str, list[int]] = defaultdict(list)
        self.ended: dict[str, Ended] = {}

    def ask(self, name: str, prompt: str, options: Options = GREEDY, **more: object) -> None:
        tokens = self.context.vocabulary.tokenize(prompt)
        limit = int(more.pop("limit", self.context.limits.cells))  # type: ignore[call-overload]
        self.batcher.submit(Job(id=name, prompt=tokens, options=options, limit=limit, **more))  # type: ignore[arg-type]

    def step(self) -> list[StepEvent]:
        events = self.batcher.step()
        self.batcher.check()
        assert self.context.cells_used == self.batcher.statistics().kv.used
        self.events += events
        for event in events:
            if isinstance(event, Sampled):
                self.tokens[event.job_id].append(event.token)
            elif isinstance(event, Ended):
                assert event.job_id not in self.ended, "a job ends once"
                self.ended[event.job_id] = event
        return events

    def run(self, most: int = 5000) -> None:
        for _ in range(most):
            self.step()
            if not self.batcher.has_work:
                return
        raise AssertionError("the batch does not come to rest")

    def text(self, name: str) -> str:
        return bytes(self.tokens[name]).decode()

    def reason(self, name: str) -> StopReason:
        return self.ended[name].reason

    def assert_empty(self) -> None:
        s = self.batcher.statistics()
        assert (s.waiting, s.prefilling, s.generating, s.paused, s.kv.live) == (0, 0, 0, 0, 0)
        self.batcher.drop_cache()
        assert self.context.cells_used == self.batcher.statistics().kv.used == 0


def chat(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def long_prompt(words: int, seed: int = 0) -> str:
    chooser = random.Random(seed)
    return chat(" ".join(chooser.choice(("red", "green", "blue", "grey")) for _ in range(words)))


def test_one_job_runs_to_its_own_end() -> None:
    """A job is admitted, answers, and ends by the model's own end token."""
    engine = Engine()
    engine.ask("a", chat('Repeat: "QX-7731"'))
    engine.run()
    assert engine.text("a") == "QX-7731"
    assert engine.reason("a") is StopReason.STOP
    assert isinstance(engine.events[0], Admitted)
    engine.assert_empty()


def test_sixty_four_jobs_keep_their_own_words() -> None:
    """No answer holds another's canary, however the jobs are interleaved."""
    engine = Engine(sequences=64, cells=8192)
    for n in range(64):
        engine.ask(f"j{n}", chat(f'{"x" * (n % 7)} Repeat: "canary-{n}-{n * 7919 % 1000}"'))
    engine.run()
    for n in range(64):
        assert engine.text(f"j{n}") == f"canary-{n}-{n * 7919 % 1000}"
    assert engine.context.counters.max_rows >= 64, "jobs share a decode"
    assert engine.context.counters.incoherent == 0
    engine.assert_empty()


@pytest.mark.parametrize("wanted", [1, 5])
def test_num_predict_counts_exactly(wanted: int) -> None:
    """The answer has as many tokens as asked for, and ends by length."""
    engine = Engine(babble)
    engine.ask("a", chat("hello"), Options(temperature=0, num_predict=wanted))
    engine.run()
    assert len(engine.tokens["a"]) == wanted
    assert engine.reason("a") is StopReason.LENGTH


def test_num_predict_zero_generates_nothing() -> None:
    """Zero tokens asked for are zero tokens, not a limitless answer."""
    engine = Engine(babble)
    engine.ask("a", chat("hello"), Options(temperature=0, num_predict=0))
    engine.run()
    assert engine.tokens["a"] == []
    assert engine.reason("a") is StopReason.LENGTH


def test_an_answer_of_no_tokens_leaves_no_sampler_behind() -> None:
    """The library frees a chain only when told to: one that is never drawn from is not made."""
    engine = Engine(babble)
    engine.ask("a", chat("hello"), Options(typical_p=0.9, num_predict=0))
    engine.run()
    assert engine.reason("a") is StopReason.LENGTH
    assert engine.context.counters.chains == 0


def test_the_limit_ends_an_answer_that_may_not_shift() -> None:
    """Prompt and answer together fill the limit to the last position."""
    engine = Engine(babble)
    prompt = chat("hello")
    engine.ask("a", prompt, limit=60)
    engine.run()
    used = len(engine.context.vocabulary.tokenize(prompt)) + len(engine.tokens["a"])
    assert used == 60
    assert engine.reason("a") is StopReason.LENGTH


def test_a_shift_lets_an_answer_go_on() -> None:
    """With shift the window slides, the dropped tokens are told, and the answer reaches its end."""
    engine = Engine(babble)
    engine.ask("a", chat("hello"), Options(temperature=0, num_predict=200), limit=60, shift=True)
    engine.run()
    assert len(engine.tokens["a"]) == 200
    assert engine.ended["a"].shifted > 100
    assert engine.context.counters.shifts > 0
    engine.assert_empty()


def test_a_shift_behind_a_shared_prefix_computes_again() -> None:
    """Where others see the cells they are not moved; the shortened text is prefilled instead."""
    engine = Engine(babble)
    options = Options(temperature=0, num_predict=150)
    engine.ask("a", chat("hello " * 8), options, limit=120, shift=True)
    engine.ask("b", chat("hello " * 8) + "x", Options(temperature=0, num_predict=400))
    engine.run()
    assert len(engine.tokens["a"]) == 150
    assert len(engine.tokens["b"]) == 400
    engine.assert_empty()


def undisturbed(
    script: Script, prompts: dict[str, str], options: Options = GREEDY
) -> dict[str, str]:
    texts = {}
    for name, prompt in prompts.items():
        engine = Engine(script, cells=4096)
        engine.ask(name, prompt, options)
        engine.run()
        texts[name] = engine.text(name)
    return texts


def teach_brevity(engine: Engine) -> None:
    """Have many answers of one token, so that long ones come as a surprise."""
    for n in range(80):
        engine.ask(f"brief {n}", chat(str(n)), Options(temperature=0, num_predict=1))
    engine.run()


def test_a_full_pool_pauses_jobs_without_changing_their_text() -> None:
    """Jobs larger than the pool together all finish, with the text they would have had alone."""
    prompts = {f"j{n}": long_prompt(8, seed=n) for n in range(6)}
    options = Options(temperature=0, num_predict=80)
    expected = undisturbed(babble, prompts, options)
    engine = Engine(babble, cells=300)
    teach_brevity(engine)
    for name, prompt in prompts.items():
        engine.ask(name, prompt, options)
    engine.run()
    assert {name: engine.text(name) for name in prompts} == expected
    assert engine.batcher.statistics().preemptions > 0
    assert engine.context.counters.incoherent == 0
    engine.assert_empty()


@pytest.mark.parametrize("cached", [True, False])
def test_text_is_the_same_with_the_cache_on_off_cold_and_warm(cached: bool) -> None:
    """The prefix cache saves work and changes nothing else."""
    prompts = {f"j{n}": long_prompt(30) + str(n) for n in range(4)}
    expected = undisturbed(babble_for(20), prompts)
    engine = Engine(babble_for(20), policy=Policy(step_budget="off", prefix_cache=cached))
    for _ in range(2):
        engine.tokens.clear()
        engine.ended.clear()
        for name, prompt in prompts.items():
            engine.ask(name, prompt)
        engine.run()
        assert {name: engine.text(name) for name in prompts} == expected
    assert (engine.batcher.statistics().cached_tokens > 0) == cached


def test_a_common_prompt_is_computed_once_even_when_all_arrive_together() -> None:
    """Jobs wait for the one that is computing their prefix instead of computing it too."""
    engine = Engine(babble, cells=4096, policy=Policy(step_budget="64"))
    stem = long_prompt(60)
    for n in range(12):
        engine.ask(f"j{n}", f"{stem} {n:02d}", Options(temperature=0, num_predict=4))
    engine.run()
    unique = len(stem) + 12 * 3
    assert engine.batcher.statistics().prompt_tokens <= 1.1 * unique
    assert len(engine.ended) == 12


def test_a_job_that_waits_for_a_prefix_is_freed_when_its_maker_leaves() -> None:
    """Cancelling the job in front does not strand those behind it."""
    engine = Engine(babble, cells=4096, policy=Policy(step_budget="16"))
    stem = long_prompt(60)
    for n in range(3):
        engine.ask(f"j{n}", f"{stem}{n}", Options(temperature=0, num_predict=2))
    engine.step()
    engine.batcher.cancel("j0")
    engine.run()
    assert engine.reason("j0") is StopReason.CANCELLED
    assert engine.reason("j1") is engine.reason("j2") is StopReason.LENGTH
    engine.assert_empty()


def test_running_streams_get_a_token_in_every_step_of_a_long_prefill() -> None:
    """Decode comes first: a long prompt only gets the rest of each step."""
    rows: list[int] = []
    hooks = Hooks(on_decode=lambda batch: rows.append(batch.size))
    policy = Policy(step_budget="32")
    engine = Engine(babble, cells=4096, policy=policy, hooks=hooks)
    for n in range(3):
        engine.ask(f"j{n}", chat(f"{n}"), Options(temperature=0, num_predict=60))
    while len(engine.tokens["j2"]) < 5:
        engine.step()
    rows.clear()
    engine.ask("long", long_prompt(120))
    before = {n: len(engine.tokens[f"j{n}"]) for n in range(3)}
    steps = 10
    for _ in range(steps):
        engine.step()
    assert all(len(engine.tokens[f"j{n}"]) == before[n] + steps for n in range(3))
    assert max(rows) <= 35


def test_the_budget_is_shared_by_the_patient_too() -> None:
    """A stream of short prompts does not keep a long one from ever starting."""
    engine = Engine(babble, cells=8192, sequences=8, policy=Policy(step_budget="32"))
    engine.ask("long", long_prompt(100), Options(temperature=0, num_predict=1))
    for n in range(120):
        engine.ask(f"s{n}", chat(f"{n:03d} short"), Options(temperature=0, num_predict=2))
    order = []
    while engine.batcher.has_work:
        order += [e.job_id for e in engine.step() if isinstance(e, Ended)]
    assert order.index("long") < 60


PHASES: dict[str, Callable[[Engine], bool]] = {
    "queued": lambda engine: True,
    "prefill": lambda engine: engine.batcher.statistics().prefilling > 0,
    "decode": lambda engine: len(engine.tokens["victim"]) > 3,
}


@pytest.mark.parametrize("phase", PHASES)
def test_cancel_frees_the_sequence_within_one_step(phase: str) -> None:
    """In every phase a cancel takes effect in the next step and no neighbour notices."""
    expected = undisturbed(babble, {"other": chat("me")}, Options(temperature=0, num_predict=50))
    engine = Engine(babble, policy=Policy(step_budget="16"))
    engine.ask("other", chat("me"), Options(temperature=0, num_predict=50))
    engine.ask("victim", long_prompt(30))
    while not PHASES[phase](engine):
        engine.step()
    engine.batcher.cancel("victim")
    engine.step()
    assert engine.reason("victim") is StopReason.CANCELLED
    assert engine.batcher.statistics().kv.live <= 1
    engine.run()
    assert engine.text("other") == expected["other"]
    engine.assert_empty()


def test_cancelling_what_has_ended_or_never_was_does_nothing() -> None:
    """A cancel that comes too late is no error and no event."""
    engine = Engine(fixed("ok"))
    engine.ask("a", chat("x"))
    engine.run()
    engine.batcher.cancel("a")
    engine.batcher.cancel("nobody")
    assert engine.step() == []


@pytest.mark.parametrize(
    ("prompt", "error"),
    [([], BadRequest), ([70_000], BadRequest), ([-1], BadRequest), ([1] * 2000, PromptTooLong)],
)
def test_an_impossible_job_ends_alone(prompt: list[int], error: type[Exception]) -> None:
    """What no engine could run is refused before the library sees it; others go on."""
    engine = Engine()
    engine.ask("good", chat('Repeat: "fine"'))
    tokens = np.array(prompt, np.int32)
    engine.batcher.submit(Job(id="bad", prompt=tokens, options=GREEDY, limit=10_000))
    engine.run()
    assert isinstance(engine.ended["bad"].error, error)
    assert engine.text("good") == "fine"
    engine.assert_empty()


@pytest.mark.parametrize("status", [DecodeStatus.INTERRUPTED, DecodeStatus.COMPUTE_FAILED])
def test_one_failed_decode_loses_nothing(status: DecodeStatus) -> None:
    """After a decode that failed once the book is restored and the text is unharmed."""
    engine = Engine(hooks=Hooks(fail={0: status, 3: status, 5: status}))
    engine.ask("a", chat('Repeat: "unharmed"'))
    for _ in range(30):
        engine.step()
    assert engine.text("a") == "unharmed"
    engine.assert_empty()


def test_a_device_that_keeps_failing_ends_the_engine() -> None:
    """Two failures running are not retried for ever: the runner has to rebuild the context."""
    failed = DecodeStatus.COMPUTE_FAILED
    engine = Engine(hooks=Hooks(fail=dict.fromkeys(range(9), failed)))
    engine.ask("a", chat("x"))
    with pytest.raises(EngineError, match="failed twice"):
        engine.run()


def test_no_room_the_book_did_not_expect_is_survived() -> None:
    """Return code 1 evicts, drops the prefill part, pauses the youngest; nobody is failed."""
    fail = dict.fromkeys((2, 3, 6), DecodeStatus.NO_ROOM)
    engine = Engine(hooks=Hooks(fail=fail))
    for n in range(4):
        engine.ask(f"j{n}", chat(f'Repeat: "word{n}"'))
    for _ in range(80):
        engine.step()
    assert [engine.text(f"j{n}") for n in range(4)] == [f"word{n}" for n in range(4)]
    assert engine.batcher.statistics().no_room == 3
    engine.assert_empty()


def test_a_refused_batch_ends_its_jobs_and_the_engine_lives() -> None:
    """INVALID is our own bug: those in the batch end with an error, the next job runs."""
    engine = Engine(hooks=Hooks(fail={0: DecodeStatus.INVALID}))
    engine.ask("a", chat('Repeat: "x"'))
    engine.run()
    assert isinstance(engine.ended["a"].error, EngineError)
    engine.ask("b", chat('Repeat: "alive"'))
    engine.run()
    assert engine.text("b") == "alive"
    engine.assert_empty()


def test_a_row_without_probabilities_ends_its_own_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that gives NaN for one sequence harms that sequence only."""
    engine = Engine(babble)
    engine.ask("a", chat("a"), Options(temperature=0, num_predict=8))
    engine.ask("b", chat("b"), Options(temperature=0, num_predict=8))
    engine.step()
    original = engine.context.logits

    def poisoned() -> npt.NDArray[np.float32]:
        rows = original()
        rows[0] = np.nan
        return rows

    monkeypatch.setattr(engine.context, "logits", poisoned)
    engine.step()
    monkeypatch.undo()
    engine.run()
    assert Counter(end.reason for end in engine.ended.values()) == {"error": 1, "length": 1}
    engine.assert_empty()


def test_a_paused_job_stands_still_and_goes_on() -> None:
    """A slow reader's job makes no tokens while paused, and the same ones afterwards."""
    expected = undisturbed(babble_for(30), {"a": chat("a")})
    engine = Engine(babble_for(30))
    engine.ask("a", chat("a"))
    engine.step()
    engine.batcher.pause("a")
    engine.run()
    assert len(engine.tokens["a"]) == 1
    engine.batcher.resume("a")
    engine.run()
    assert engine.text("a") == expected["a"]


def test_a_paused_job_gives_its_place_to_one_that_can_run() -> None:
    """Nobody waits for memory that a stalled reader holds."""
    engine = Engine(babble_for(30), cells=128)
    engine.ask("slow", chat("x" * 60))
    engine.step()
    engine.batcher.pause("slow")
    engine.ask("quick", chat("y" * 60))
    engine.run()
    assert engine.reason("quick") is StopReason.STOP
    engine.batcher.resume("slow")
    engine.run()
    assert len(engine.text("slow")) == 30
    engine.assert_empty()


def test_a_capped_batch_admits_the_rest_later() -> None:
    """max_live is a cap; the others wait their turn and lose nothing."""
    engine = Engine(policy=Policy(max_live=2, step_budget="off"))
    for n in range(7):
        engine.ask(f"j{n}", chat(f'Repeat: "w{n}"'))
    live = []
    while engine.batcher.has_work:
        engine.step()
        live.append(engine.batcher.statistics().kv.live)
    assert max(live) == 2
    assert [engine.text(f"j{n}") for n in range(7)] == [f"w{n}" for n in range(7)]


def test_exotic_samplers_run_beside_plain_ones() -> None:
    """A job that needs a library chain shares the step with numpy-sampled ones."""
    engine = Engine(babble_for(12))
    engine.ask("plain", chat("a"))
    engine.ask("exotic", chat("b"), Options(temperature=0.01, typical_p=0.5, seed=1))
    engine.run()
    assert len(engine.text("plain")) == len(engine.text("exotic")) == 12
    assert engine.context.counters.chains == 0, "every chain is closed"


def canaries(chooser: random.Random) -> Iterator[tuple[str, str]]:
    for n in range(150):
        filler = "".join(chooser.choice("abc ") for _ in range(chooser.randrange(120)))
        stem = "system text shared by many " if chooser.random() < 0.5 else ""
        yield f"j{n}", chat(f'{stem}{filler} Repeat: "c{n}-{chooser.randrange(10**6)}"')


@pytest.mark.parametrize("seed", range(6))
def test_a_storm_of_jobs_cancels_and_pauses_leaves_nothing_behind(seed: int) -> None:
    """Under random pressure every finished answer is its own canary and every job ends once."""
    chooser = random.Random(seed)
    engine = Engine(cells=400, sequences=10, policy=Policy(step_budget="24"))
    asked = dict(canaries(chooser))
    todo, paused = list(asked), set[str]()
    while todo or engine.batcher.has_work or paused:
        if todo and chooser.random() < 0.6:
            name = todo.pop()
            engine.ask(name, asked[name])
        if chooser.random() < 0.1:
            engine.batcher.cancel(chooser.choice(list(asked)))
        if chooser.random() < 0.1:
            paused.add(name := chooser.choice(list(asked)))
            engine.batcher.pause(name)
        if paused and chooser.random() < 0.2:
            engine.batcher.resume(paused.pop())
        engine.step()
    assert set(engine.ended) == set(asked)
    for name, end in engine.ended.items():
        canary = asked[name].split('"')[1]
        whole = engine.text(name)
        assert canary == whole if end.reason is StopReason.STOP else canary.startswith(whole)
    assert engine.context.counters.incoherent == 0
    engine.assert_empty()


def test_logits_are_wanted_only_where_they_are_used() -> None:
    """Prompt rows but the last ask for no logits: they would cost a vocabulary each."""
    wanted: list[tuple[int, int]] = []

    def record(batch: Batch) -> None:
        wanted.append((batch.size, batch.outputs))

    engine = Engine(fixed("ab"), hooks=Hooks(on_decode=record))
    engine.ask("a", chat("x" * 50))
    engine.run()
    assert wanted[0][0] > 50
    assert {outputs for _, outputs in wanted} == {1}


def test_those_who_left_together_are_waited_for() -> None:
    """The first to come back lets the others catch up; the last one is not held."""
    now = 0
    context = open_fake_context(fixed("ok"))
    batcher = Batcher(context, Policy(step_budget="off"), clock=lambda: now)

    def ask(name: str) -> None:
        prompt = context.vocabulary.tokenize(chat(name))
        batcher.submit(Job(id=name, prompt=prompt, options=GREEDY, limit=512))

    for n in range(3):
        ask(f"a{n}")
        assert batcher.linger() == 0, "nobody has left yet"
    while batcher.has_work:
        batcher.step()
    now += 5_000_000
    ask("b0")
    ask("b1")
    assert batcher.linger() > 0
    ask("b2")
    assert batcher.linger() == 0
    batcher.close()


def test_what_a_step_brings_is_reported_as_the_next_one_decodes() -> None:
    """Whoever is told works beside the decode; the last step has no next one and returns it."""
    known: list[StepEvent] = []
    before_decode: list[int] = []
    hooks = Hooks(on_decode=lambda batch: before_decode.append(len(known)))
    engine, plain = Engine(fixed("abc"), hooks=hooks), Engine(fixed("abc"))
    for one in (engine, plain):
        one.ask("a", chat("x"))
        one.ask("b", chat("y"), Options(temperature=0, num_predict=2))
    while engine.batcher.has_work:
        known += engine.batcher.step(known.extend)
    plain.run()

    assert [(type(e), e.job_id) for e in known] == [(type(e), e.job_id) for e in plain.events]
    # Two admissions; two tokens; two more and the end of b; the last one of a.
    assert before_decode == [2, 4, 7, 8]


def test_a_job_that_stands_still_keeps_no_report() -> None:
    """Nothing waits for a decode that may not come."""
    engine = Engine(babble_for(30))
    engine.ask("a", chat("x"))
    told: list[StepEvent] = []
    assert engine.batcher.step(told.extend) == []
    engine.batcher.pause("a")
    left = engine.batcher.step(told.extend)
    assert [type(event) for event in (*told, *left)] == [Admitted, Sampled]
