"""Evicted prefixes in the host's memory, in the step loop over modelled cells."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from tests.support.decoding import prompt
from trillama.base.events import Admitted, Sampled
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher, Policy
from trillama.engine.base import ContextParams
from trillama.engine.fake import babble, open_fake_context


@pytest.fixture(params=["pool", "streams"], autouse=True)
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test twice: with one pool, and with two sequences that have cells of their own."""
    monkeypatch.setattr(Engine, "streams", request.param == "streams")


class Engine:
    """A batcher on a fake context with room for two long prompts."""

    streams = False

    def __init__(self, *, cells: int = 1024, host_cache: int = 1 << 20) -> None:
        if self.streams:
            params = ContextParams(
                cells=2 * cells, sequences=2, outputs=2, batch=128, unified=False
            )
        else:
            params = ContextParams(cells=cells, sequences=8, outputs=8, batch=128)
        self.context = open_fake_context(babble, params)
        self.batcher = Batcher(self.context, Policy(step_budget="off", host_cache=host_cache))
        self.cached: dict[str, int] = {}
        self.tokens: dict[str, list[int]] = defaultdict(list)

    def said(self, name: str, tokens: np.ndarray) -> list[int]:
        options = Options(temperature=0, num_predict=20)
        self.batcher.submit(Job(id=name, prompt=tokens, options=options, limit=1000))
        while self.batcher.has_work:
            for event in self.batcher.step():
                if isinstance(event, Admitted):
                    self.cached[event.job_id] = event.cached
                elif isinstance(event, Sampled):
                    self.tokens[event.job_id].append(event.token)
            self.batcher.check()
            assert self.context.cells_used == self.batcher.statistics().kv.used
        return self.tokens[name]


def long(salt: int, end: int = 0) -> np.ndarray:
    """A prompt that begins with 400 tokens of its own kind."""
    return np.concatenate([prompt(400, salt), prompt(30, 100 + end)])


def test_an_evicted_prefix_comes_back_from_the_host() -> None:
    """Words are those of an engine that never had it, and what was saved is not computed."""
    engine = Engine()
    for salt in range(4):
        engine.said(f"cold {salt}", long(salt))
    assert engine.batcher.statistics().kv.saved >= 2
    said = engine.said("warm", long(0, 1))
    assert said == Engine(host_cache=0).said("warm", long(0, 1))
    assert engine.cached["warm"] == 400
    assert engine.batcher.statistics().kv.restored == 400
    assert engine.context.counters.incoherent == 0


def test_what_is_restored_is_shared_with_what_is_cached() -> None:
    """Cells that both have are held once."""
    engine = Engine()
    tokens = np.concatenate([long(0), prompt(300, 50)])
    engine.said("whole", tokens)
    for salt in range(1, 4):
        engine.said(f"cold {salt}", long(salt))
    engine.said("stem", long(0)[:420])
    engine.said("again", np.append(tokens, prompt(10, 7)))
    assert engine.cached["again"] == len(tokens)


def test_short_prefixes_and_budgets_of_nothing_are_left_alone() -> None:
    """No image is made that nobody would keep."""
    engine = Engine(host_cache=0)
    for salt in range(4):
        engine.said(f"long {salt}", long(salt))
    short = Engine(cells=256)
    for salt in range(6):
        short.said(f"short {salt}", prompt(100, salt))
    assert engine.context.counters.saves == short.context.counters.saves == 0
    assert engine.batcher.statistics().kv.evictions > 0


def test_nothing_is_saved_where_prompts_never_match() -> None:
    """Once no prompt has begun like another for long, evicted ones are not worth it."""
    engine = Engine()
    for salt in range(30):
        engine.said(str(salt), long(salt))
    saves = engine.context.counters.saves
    for salt in range(30, 34):
        engine.said(str(salt), long(salt))
    assert engine.context.counters.saves == saves


def test_a_dropped_cache_is_dropped_from_the_host_too() -> None:
    """Nothing is saved on the way out."""
    engine = Engine()
    for salt in range(4):
        engine.said(str(salt), long(salt))
    saves = engine.context.counters.saves
    engine.batcher.drop_cache()
    statistics = engine.batcher.statistics().kv
    assert (statistics.saved, statistics.saved_bytes, statistics.used) == (0, 0, 0)
    assert engine.context.counters.saves == saves
