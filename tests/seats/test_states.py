"""Models that remember by a state, in the step loop over modelled memory."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import pytest

from tests.support.decoding import prompt
from trillama.base.events import Admitted, Ended, Sampled, StopReason
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher, Policy
from trillama.engine.base import ContextParams, DecodeStatus, MemoryKind
from trillama.engine.fake import Failure, FakeContext, FakeModel, FakeWeights, Hooks, babble
from trillama.seats.states import TAIL

Tokens = npt.NDArray[np.int32]


class Engine:
    """A batcher on a fake model with states."""

    def __init__(
        self,
        memory: MemoryKind = MemoryKind.HYBRID,
        *,
        cells: int = 4096,
        host_cache: int = 1 << 20,
        hooks: Hooks | None = None,
    ) -> None:
        model = FakeModel(FakeWeights(script=babble, memory=memory), hooks or Hooks())
        params = ContextParams(cells=cells, sequences=8, outputs=8, batch=64, micro_batch=16)
        self.context: FakeContext = model.open_context(params)
        self.batcher = Batcher(self.context, Policy(step_budget="off", host_cache=host_cache))
        self.cached: dict[str, int] = {}
        self.tokens: dict[str, list[int]] = defaultdict(list)
        self.ended: dict[str, StopReason] = {}

    def ask(self, name: str, tokens: Tokens, most: int = 20) -> None:
        options = Options(temperature=0, num_predict=most)
        self.batcher.submit(Job(id=name, prompt=tokens, options=options, limit=4000))

    def run(self, *, steps: int = 3000) -> None:
        while self.batcher.has_work and steps:
            steps -= 1
            for event in self.batcher.step():
                match event:
                    case Admitted():
                        self.cached[event.job_id] = event.cached
                    case Sampled():
                        self.tokens[event.job_id].append(event.token)
                    case Ended():
                        self.ended[event.job_id] = event.reason
            self.batcher.check()
            assert self.context.cells_used == self.batcher.statistics().kv.used

    def said(self, name: str, tokens: Tokens, most: int = 20) -> list[int]:
        self.ask(name, tokens, most)
        self.run()
        assert self.ended[name] is StopReason.LENGTH
        return self.tokens[name]


def alone(tokens: Tokens, most: int = 20) -> list[int]:
    return Engine(host_cache=0).said("alone", tokens, most)


@pytest.mark.parametrize("memory", [MemoryKind.HYBRID, MemoryKind.RECURRENT])
def test_the_next_turn_goes_on_where_the_last_one_ended(memory: MemoryKind) -> None:
    """All but the last token of an answer was computed, and is not again."""
    engine, first = Engine(memory), prompt(100)
    answer = engine.said("first", first)
    second = np.concatenate([first, np.array(answer, np.int32), prompt(30, 1)])
    assert engine.said("second", second) == alone(second)
    assert engine.cached["second"] == len(first) + len(answer) - 1


def test_a_turn_written_otherwise_goes_on_before_its_answer() -> None:
    """Where a template drops what the answer began with, the prompt's checkpoint serves."""
    engine, first = Engine(), prompt(200)
    engine.said("first", first)
    second = np.concatenate([first[:-TAIL], prompt(50, 1)])
    assert engine.said("second", second) == alone(second)
    assert engine.cached["second"] == len(first) - TAIL


def test_the_second_prompt_finds_the_fork_for_the_third() -> None:
    """A common beginning is known once two prompts have shown it."""
    engine, stem = Engine(), prompt(320)
    for number in range(3):
        engine.said(str(number), np.concatenate([stem, prompt(40, number + 1)]))
    assert [engine.cached[str(number)] for number in range(3)] == [0, 0, 320]


def test_a_common_beginning_that_is_being_computed_is_waited_for() -> None:
    """Jobs that arrive together compute it once."""
    engine, stem = Engine(), prompt(300)
    texts = {str(n): np.concatenate([stem, prompt(40, n + 1)]) for n in range(6)}
    for name, tokens in texts.items():
        engine.ask(name, tokens)
    engine.run()
    assert sorted(engine.cached.values()) == [0, 300, 300, 300, 300, 300]
    assert {name: engine.tokens[name] for name in texts} == {n: alone(t) for n, t in texts.items()}
    assert engine.batcher.statistics().prompt_tokens <= 1.1 * (300 + 6 * 40)


def test_without_room_on_the_host_everything_is_computed() -> None:
    """And nothing is waited for in vain."""
    engine, tokens = Engine(host_cache=0), prompt(200)
    for name in ("a", "b"):
        engine.ask(name, tokens)
    engine.run()
    assert engine.cached == {"a": 0, "b": 0}
    assert engine.batcher.statistics().kv.saved_bytes == 0


def test_a_full_pool_pauses_and_nobody_loses_work() -> None:
    """Whoever is paused is restored, not computed again."""
    engine = Engine(cells=400)
    for number in range(120):  # answers of one token make longer ones a surprise
        engine.ask(f"brief {number}", prompt(5, number), 1)
    engine.run()
    computed = engine.batcher.statistics().prompt_tokens
    texts = {str(n): prompt(90, n) for n in range(4)}
    for name, tokens in texts.items():
        engine.ask(name, tokens, 60)
    engine.run()
    statistics = engine.batcher.statistics()
    assert statistics.preemptions > 0
    assert statistics.prompt_tokens - computed <= 4 * 90 + 2 * statistics.preemptions
    assert {name: engine.tokens[name] for name in texts} == {
        name: alone(tokens, 60) for name, tokens in texts.items()
    }


@pytest.mark.parametrize("turn", [1, 3, 12, 20])
def test_a_decode_that_broke_off_has_all_begin_again(turn: int) -> None:
    """What it has computed of a state cannot be taken back, and nobody can tell whose it has torn:
    also those who were not in it say what they would have said."""
    hooks = Hooks(fail={turn: Failure(DecodeStatus.INTERRUPTED, rows=2)})
    engine = Engine(hooks=hooks)
    texts = {str(n): prompt(90, n) for n in range(3)}
    for name, tokens in texts.items():
        engine.ask(name, tokens)
    engine.run()
    assert {name: engine.tokens[name] for name in texts} == {n: alone(t) for n, t in texts.items()}
