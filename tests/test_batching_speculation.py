"""Guesses in the step loop: an answer is the same with them and without, only sooner there."""

from __future__ import annotations

import random

import msgspec
import pytest

from tests.support.guessing import every_guess
from tests.test_batching import GREEDY, Engine, chat
from tests.test_batching_streams import Streams
from trillama.base.constraints import Constraint, ConstraintKind
from trillama.base.events import Ended, Sampled, StopReason
from trillama.base.options import Options
from trillama.batching import Batcher, Policy
from trillama.engine.base import ContextParams, DecodeStatus, MemoryKind
from trillama.engine.draft_model import FOLLOWED, DraftModel, draft_params
from trillama.engine.fake import (
    Failure,
    FakeContext,
    FakeWeights,
    Hooks,
    Script,
    babble_for,
    echo_canary,
    fixed,
    open_fake_context,
)
from trillama.engine.grammar import GrammarCompiler
from trillama.seats import Seat, speculation

OFF = Policy(step_budget="off", speculation=False)
ON = Policy(step_budget="off")


def letters(count: int, seed: int = 0) -> str:
    """Text of two letters: everything is like something, and guesses are wrong half the time."""
    return "".join(random.Random(seed).choices("ab", k=count))


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever rows cost, all guesses there are get computed."""
    monkeypatch.setattr(speculation, "share_out", every_guess)


def careless(script: Script) -> Script:
    """A draft model that is right three times in four."""
    return lambda history: script(history) if history.digest % 4 else ord("z")


def engine_of(kind: type[Engine], script: Script, policy: Policy = ON, **more: object) -> Engine:
    engine = kind(script, **more)  # type: ignore[arg-type]
    engine.batcher = Batcher(engine.context, policy)
    return engine


OPTIONS = {
    "greedy": GREEDY,
    "hot": Options(temperature=30, seed=7, top_k=40),
    "penalties": Options(temperature=0, frequency_penalty=5, repeat_last_n=12),
    "hot penalties": Options(temperature=20, seed=3, presence_penalty=12, repeat_last_n=9),
    "chain": Options(temperature=0, typical_p=0.9),
    "bias": Options(temperature=25, seed=11, logit_bias=((98, 6.0),)),
}


@pytest.mark.parametrize("kind", [Engine, Streams])
@pytest.mark.parametrize("name", OPTIONS)
def test_an_answer_is_the_same_with_guesses(kind: type[Engine], name: str) -> None:
    """Token for token, drawn with the same random numbers, in fewer steps than tokens."""
    said, steps = [], []
    for policy in (OFF, ON):
        engine = engine_of(kind, fixed(letters(400)), policy)
        options = msgspec.structs.replace(OPTIONS[name], num_predict=300)
        engine.ask("a", chat(letters(200, 1)), options)
        engine.run()
        said.append(engine.tokens["a"])
        steps.append(engine.batcher.statistics())
        engine.assert_empty()
    assert said[0] == said[1]
    assert steps[0].drafted == 0 < steps[1].accepted < steps[1].drafted
    assert steps[1].steps < steps[0].steps
    assert engine.context.counters.incoherent == 0


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("answers", [1, 3, FOLLOWED + 1])
def test_a_draft_model_changes_no_answer(name: str, answers: int) -> None:
    """Text without repetition, so that all guesses are the second model's; for a few answers."""
    script = babble_for(150)
    said, done = [], []
    for drafting in (False, True):
        engine = Engine(script, cells=4096)
        params = draft_params(ContextParams(cells=4096, sequences=64, outputs=64))
        small = open_fake_context(careless(script), params)
        draft = DraftModel[Seat](small) if drafting else None
        engine.batcher = Batcher(engine.context, ON, draft=draft)
        for n in range(answers):
            options = msgspec.structs.replace(OPTIONS[name], num_predict=100, seed=n)
            engine.ask(f"j{n}", chat(f"question {n}"), options)
        engine.run()
        said.append(engine.tokens)
        done.append(engine.batcher.statistics())
        engine.assert_empty()
        assert small.cells_used == 0
    assert said[0] == said[1]
    if name == "greedy" and answers <= FOLLOWED:
        assert done[1].accepted > 30 * answers
        assert done[1].steps < done[0].steps * 0.7


def test_many_answers_with_guesses_keep_their_own_words() -> None:
    """Rows of several drafts share a decode, and none is taken for another's."""
    plain, guessing = (
        engine_of(Engine, echo_canary, policy, sequences=16, cells=8192) for policy in (OFF, ON)
    )
    for engine in (plain, guessing):
        for n in range(16):
            engine.ask(f"j{n}", chat(f'Repeat: "{letters(60 + n, n)}"'))
        engine.run()
    assert guessing.tokens == plain.tokens
    assert all(guessing.text(f"j{n}") == letters(60 + n, n) for n in range(16))
    assert guessing.batcher.statistics().accepted > 100
    guessing.assert_empty()


@pytest.mark.parametrize("wanted", range(1, 24))
def test_num_predict_counts_exactly(wanted: int) -> None:
    """Guesses never carry an answer past its limit."""
    engine = engine_of(Engine, fixed("ab" * 50))
    engine.ask("a", chat("abababab"), Options(temperature=0, num_predict=wanted))
    engine.run()
    assert engine.text("a") == ("ab" * 50)[:wanted]
    assert engine.reason("a") is StopReason.LENGTH
    engine.assert_empty()


@pytest.mark.parametrize("limit", range(60, 84, 3))
def test_a_full_window_ends_or_slides_as_ever(limit: int) -> None:
    """Guesses stop short of the window's end, so that it is handled at the same token."""
    for shift in (False, True):
        ends = []
        for policy in (OFF, ON):
            engine = engine_of(Engine, fixed("ab" * 60), policy)
            options = Options(temperature=0, num_predict=100)
            engine.ask("a", chat("abab"), options, limit=limit, shift=shift)
            engine.run()
            ended = engine.ended["a"]
            ends.append((engine.tokens["a"], ended.reason, ended.shifted))
        assert ends[0] == ends[1]


def test_an_end_token_within_a_draft_ends_the_answer() -> None:
    """What was guessed behind it is dropped from the cells."""
    engine = engine_of(Engine, fixed("abc" * 7))
    engine.ask("a", chat("abc" * 20))
    engine.run()
    assert engine.text("a") == "abc" * 7
    assert engine.reason("a") is StopReason.STOP
    engine.assert_empty()


def test_one_may_ask_for_few_guesses_or_none() -> None:
    """``draft_num_predict`` bounds the guesses of a step."""
    for wanted, most in ((0, 1), (3, 4), (-1, 32)):
        engine = engine_of(Engine, fixed("abcd" * 80), sequences=40)
        engine.ask("a", chat("abcd" * 20), Options(temperature=0, draft_num_predict=wanted))
        engine.run()
        assert engine.context.counters.max_outputs == most
        assert engine.text("a") == "abcd" * 80


def test_guesses_are_no_reason_to_step_back() -> None:
    """Without cells to spare nothing is guessed, and nobody is preempted for it."""
    engine = engine_of(Engine, fixed("abcd" * 15), cells=128)
    engine.ask("a", chat("abcd" * 4), GREEDY)
    engine.run()
    assert engine.text("a") == "abcd" * 15
    assert engine.batcher.statistics().preemptions == 0


def test_guesses_go_first_where_the_library_has_no_room() -> None:
    """The same plan is tried again without them."""
    rows = []
    fail: dict[int, DecodeStatus | Failure | Exception] = {5: DecodeStatus.NO_ROOM}
    hooks = Hooks(on_decode=lambda batch: rows.append(batch.size), fail=fail)
    engine = engine_of(Engine, fixed("abcd" * 40), hooks=hooks)
    engine.ask("a", chat("abcd" * 20), GREEDY)
    engine.run()
    assert rows[5] > 1
    assert rows[6] == 1
    assert engine.text("a") == "abcd" * 40
    engine.assert_empty()


@pytest.mark.parametrize("status", [DecodeStatus.INTERRUPTED, DecodeStatus.COMPUTE_FAILED])
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_decode_that_breaks_off_among_guesses_harms_nobody(
    status: DecodeStatus, kept: int
) -> None:
    """What it left of them is cut off, and the answer goes on as if nothing had been guessed."""
    fail: dict[int, DecodeStatus | Failure | Exception] = {7: Failure(status, kept)}
    engine = engine_of(Engine, fixed("abcd" * 40), hooks=Hooks(fail=fail))
    engine.ask("a", chat("abcd" * 20), GREEDY)
    engine.run()
    assert engine.text("a") == "abcd" * 40
    engine.assert_empty()


def test_a_cancelled_answer_leaves_nothing_behind() -> None:
    """At whatever step: guessed cells are gone with it."""
    for at in range(1, 12):
        engine = engine_of(Engine, fixed("abcd" * 40))
        engine.ask("a", chat("abcd" * 20), GREEDY)
        for _ in range(at):
            engine.step()
        engine.batcher.cancel("a")
        engine.run()
        assert engine.reason("a") is StopReason.CANCELLED
        engine.assert_empty()


def test_a_grammar_and_its_forced_tokens_agree_with_guesses() -> None:
    """Forced tokens that were guessed need no row of their own; all come in the same order."""
    said = []
    for policy in (OFF, ON):
        engine = engine_of(Engine, fixed("ab" * 200), policy)
        compiler = GrammarCompiler(engine.context.vocabulary)
        guide = compiler.matcher(Constraint(ConstraintKind.REGEX, "(a+b+cde){12}"), None)
        engine.ask("a", chat("abcdeabcde"), Options(temperature=0, num_predict=150), guide=guide)
        engine.run()
        said.append(engine.text("a"))
        statistics = engine.batcher.statistics()
        engine.assert_empty()
    assert said[0] == said[1]
    assert said[1].count("cde") > 3
    assert statistics.accepted > 10


def test_log_probabilities_are_those_of_the_token() -> None:
    """A guessed row's scores go with the token it led to."""
    scores = []
    for policy in (OFF, ON):
        engine = engine_of(Engine, fixed(letters(150)), policy)
        engine.ask("a", chat(letters(80)), GREEDY, logprobs=3)
        engine.run()
        scores.append([event.scores for event in engine.events if isinstance(event, Sampled)])
    assert scores[0] == scores[1]
    assert all(scores[0])


def test_a_model_with_a_state_is_never_guessed_for() -> None:
    """Its state could not be taken back."""
    params = ContextParams(cells=1024, sequences=4, outputs=8, batch=64)
    weights = FakeWeights(script=fixed("abcd" * 40), memory=MemoryKind.RECURRENT)
    engine, context = Engine(), FakeContext(weights, Hooks(), params)
    engine.context, engine.batcher = context, Batcher(context, ON)
    engine.ask("a", chat("abcd" * 20))
    while engine.batcher.has_work:
        engine.events += engine.batcher.step()
    assert isinstance(engine.events[-1], Ended)
    assert engine.batcher.statistics().drafted == 0
