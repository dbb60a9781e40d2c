"""The step loop where every sequence has cells of its own: the same promises hold."""

from __future__ import annotations

import random

import pytest

from tests.test_batching import GREEDY, Engine, chat, long_prompt, undisturbed
from trillama.base.events import StopReason
from trillama.base.options import Options
from trillama.batching import Batcher, Policy
from trillama.engine.base import ContextParams, DecodeStatus
from trillama.engine.fake import (
    Failure,
    Hooks,
    Script,
    babble,
    babble_for,
    echo_canary,
    open_fake_context,
)


class Streams(Engine):
    """An engine with ``streams`` sequences of ``cells`` each."""

    def __init__(
        self,
        script: Script = echo_canary,
        *,
        cells: int = 1024,
        streams: int = 8,
        policy: Policy | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        super().__init__(script)
        params = ContextParams(
            cells=cells * streams, sequences=streams, outputs=64, batch=256, unified=False
        )
        self.context = open_fake_context(script, params, hooks=hooks)
        self.batcher = Batcher(self.context, policy or Policy(step_budget="off"))

    def ask(self, name: str, prompt: str, options: Options = GREEDY, **more: object) -> None:
        more.setdefault("limit", self.context.limits.sequence_cells)
        super().ask(name, prompt, options, **more)


def test_more_jobs_than_streams_keep_their_own_words() -> None:
    """Each waits for a stream, says its own canary, and leaves nothing behind."""
    engine = Streams()
    for n in range(40):
        engine.ask(f"j{n}", chat(f'{"x" * (n % 7)} Repeat: "canary-{n}-{n * 7919 % 1000}"'))
    engine.run()
    for n in range(40):
        assert engine.text(f"j{n}") == f"canary-{n}-{n * 7919 % 1000}"
    assert engine.context.counters.incoherent == 0
    engine.assert_empty()


@pytest.mark.parametrize("cached", [True, False])
def test_text_is_the_same_with_the_cache_on_off_cold_and_warm(cached: bool) -> None:
    """Copied and continued streams save work and change nothing else."""
    prompts = {f"j{n}": long_prompt(30) + str(n) for n in range(6)}
    expected = undisturbed(babble_for(20), prompts)
    policy = Policy(step_budget="off", prefix_cache=cached)
    engine = Streams(babble_for(20), streams=4, policy=policy)
    for _ in range(2):
        engine.tokens.clear()
        engine.ended.clear()
        for name, prompt in prompts.items():
            engine.ask(name, prompt)
        engine.run()
        assert {name: engine.text(name) for name in prompts} == expected
    assert (engine.batcher.statistics().cached_tokens > 0) == cached
    assert (engine.context.counters.copies > 0) == cached
    assert engine.context.counters.incoherent == 0


def test_a_common_prompt_is_computed_once_even_when_all_arrive_together() -> None:
    """Jobs wait for the one that computes their prefix, and then copy it."""
    engine = Streams(babble, streams=13, policy=Policy(step_budget="64"))
    stem = long_prompt(60)
    for n in range(12):
        engine.ask(f"j{n}", f"{stem} {n:02d}", Options(temperature=0, num_predict=4))
    engine.run()
    assert engine.batcher.statistics().prompt_tokens <= 1.1 * (len(stem) + 12 * 3)
    assert len(engine.ended) == 12


def test_a_conversation_of_many_users_is_not_computed_again() -> None:
    """Twenty turns of sixteen users: what is computed twice stays below 5 % of their prompts."""
    engine = Streams(babble_for(6), cells=4096, streams=18)
    texts = {f"u{n}": chat(f"user {n} begins") for n in range(16)}
    for turn in range(20):
        engine.tokens.clear()
        for name, text in texts.items():
            engine.ask(f"{name}/{turn}", text)
        engine.run()
        for name, text in texts.items():
            answer = engine.text(f"{name}/{turn}")
            texts[name] = text + answer + f"<|im_end|>\n{chat(f'{turn} goes on')}"
    s = engine.batcher.statistics()
    unique = sum(len(engine.context.vocabulary.tokenize(text)) for text in texts.values())
    assert s.prompt_tokens - unique < 0.05 * (s.prompt_tokens + s.cached_tokens)


def test_ids_without_a_job_get_a_row_and_lose_it_again() -> None:
    """Where a job has left between others, the step stays in one piece and the book right."""
    runs: list[list[int]] = []
    hooks = Hooks(on_decode=lambda batch: runs.append(batch.sequences[: batch.size].tolist()))
    engine = Streams(babble, hooks=hooks)
    for n, most in enumerate((60, 5, 60, 60)):
        engine.ask(f"j{n}", chat(f"{n} " * 9), Options(temperature=0, num_predict=most))
    engine.run()
    assert runs[30] == [0, 1, 2, 3], "j1 has long ended"
    assert {n: len(engine.tokens[f"j{n}"]) for n in range(4)} == {0: 60, 1: 5, 2: 60, 3: 60}
    assert engine.context.counters.incoherent == 0
    engine.assert_empty()


def test_a_full_stream_between_two_answers_harms_neither() -> None:
    """One whose prompt filled it has no room for a row; those beside it are computed without."""
    engine = Streams(babble, cells=128, streams=4)
    engine.ask("left", chat("a"), Options(temperature=0, num_predict=60))
    engine.ask("full", "x" * 128, Options(temperature=0, num_predict=1))
    engine.ask("right", chat("b"), Options(temperature=0, num_predict=60))
    engine.run()
    assert {name: len(tokens) for name, tokens in engine.tokens.items()} == {
        "left": 60,
        "full": 1,
        "right": 60,
    }
    assert {end.reason for end in engine.ended.values()} == {StopReason.LENGTH}
    engine.assert_empty()


def test_a_long_sequence_does_not_share_a_decode_with_short_ones() -> None:
    """They are computed in turn within a step; nobody misses a token."""
    runs: list[list[int]] = []
    hooks = Hooks(on_decode=lambda batch: runs.append(batch.sequences[: batch.size].tolist()))
    engine = Streams(babble, cells=220_000, streams=4, hooks=hooks)
    engine.ask("long", "y" * 201_000, Options(temperature=0, num_predict=40))
    while not engine.tokens["long"]:
        engine.step()
    for n in range(3):
        engine.ask(f"j{n}", chat(f"{n} " * 9), Options(temperature=0, num_predict=40))
    engine.step()
    runs.clear()
    engine.run()
    assert runs[:4] == [[1, 2, 3], [0], [1, 2, 3], [0]]
    assert all(len(tokens) == 40 for tokens in engine.tokens.values())


@pytest.mark.parametrize("status", [DecodeStatus.INVALID, DecodeStatus.INTERRUPTED])
def test_a_decode_that_fails_is_tidied_up(status: DecodeStatus) -> None:
    """Rows that stood between others are taken back as well."""
    hooks = Hooks(fail={turn: Failure(status, rows=1) for turn in (12, 20)})
    engine = Streams(babble, hooks=hooks)
    for n, most in enumerate((60, 5, 60)):
        engine.ask(f"j{n}", chat(f"{n} " * 9), Options(temperature=0, num_predict=most))
    engine.run()
    assert len(engine.ended) == 3
    assert engine.context.counters.incoherent == 0
    engine.assert_empty()


def test_a_shift_lets_an_answer_go_on() -> None:
    """A window slides in its own cells, whoever shared its beginning."""
    engine = Streams(babble)
    options = Options(temperature=0, num_predict=150)
    for name in ("a", "b"):
        engine.ask(name, chat("hello " * 8), options, limit=120, shift=True)
    engine.run()
    assert len(engine.tokens["a"]) == len(engine.tokens["b"]) == 150
    assert engine.context.counters.shifts > 0
    engine.assert_empty()


@pytest.mark.parametrize("seed", range(8))
def test_random_days(seed: int) -> None:
    """Jobs come, pause, resume, are cancelled; all end, and the text of those who end is theirs."""
    chooser = random.Random(seed)
    engine = Streams(babble_for(25), streams=5, policy=Policy(step_budget="48"))
    stems = [long_prompt(20, seed=n) for n in range(3)]
    prompts = {
        f"j{n}": chooser.choice(stems)[: chooser.randrange(20, 90)] + chat(f"{n}")
        for n in range(30)
    }
    waiting = list(prompts)
    for _ in range(2000):
        live = [name for name in prompts if name not in waiting and name not in engine.ended]
        move = chooser.random()
        if waiting and move < 0.2:
            name = waiting.pop()
            engine.ask(name, prompts[name])
        elif live and move < 0.25:
            engine.batcher.cancel(chooser.choice(live))
        elif live and move < 0.4:
            engine.batcher.pause(chooser.choice(live))
        elif live:
            engine.batcher.resume(chooser.choice(live))
        engine.step()
    for name in prompts:
        engine.batcher.resume(name)
    engine.run()
    assert len(engine.ended) == 30
    whole = [name for name in prompts if engine.reason(name) is StopReason.STOP]
    expected = undisturbed(babble_for(25), {name: prompts[name] for name in whole})
    assert {name: engine.text(name) for name in whole} == expected
    assert engine.context.counters.incoherent == 0
    engine.assert_empty()
