"""Jobs with different LoRA adapters in one step loop: nobody sees what others compute with."""

from __future__ import annotations

import pytest

from tests.support.stepping import Stepped
from trillama.base.adapters import Adapter, Adapters
from trillama.base.events import StopReason
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher
from trillama.engine.base import ContextParams
from trillama.engine.fake import FakeContext, FakeModel, FakeWeights, Hooks, babble

A, B = Adapter("a"), Adapter("b")
SETS: list[Adapters] = [(), (A,), (B,), (Adapter("a", 0.5),), (A, B)]
SHARED = "a beginning that all of them have in common, long enough to be worth sharing: "


class Loop(Stepped):
    """A batcher on a fake model that has two adapters, stepped by hand."""

    def __init__(self, **params: int) -> None:
        model = FakeModel(FakeWeights(script=babble), Hooks())
        for adapter in (A, B):
            model.load_adapter(adapter.path)
        self.context: FakeContext = model.open_context(ContextParams(cells=1024, **params))
        super().__init__(Batcher(self.context))

    def ask(self, name: str, adapters: Adapters, tokens: int = 20) -> None:
        prompt = self.context.vocabulary.tokenize(SHARED + name[0])
        options = Options(temperature=0, num_predict=tokens)
        self.tokens[name] = []
        self.batcher.submit(
            Job(id=name, prompt=prompt, options=options, limit=900, adapters=adapters)
        )


def alone(adapters: Adapters) -> list[int]:
    loop = Loop()
    loop.ask("x", adapters)
    loop.run()
    return loop.tokens["x"]


@pytest.mark.parametrize("params", [{}, {"streams": 12, "sequences": 12}])
def test_each_job_gets_what_it_gets_alone(params: dict[str, int]) -> None:
    """Two jobs of each of five sets, all at once: as if each had the engine to itself."""
    loop = Loop(**params)
    for number, adapters in enumerate(SETS * 2):
        loop.ask(f"x{number}", adapters)
    loop.run()
    expected = [alone(adapters) for adapters in SETS]
    assert len({tuple(tokens) for tokens in expected}) == len(SETS)
    assert list(loop.tokens.values()) == expected * 2
    assert loop.context.counters.incoherent == 0


def test_prefixes_are_shared_within_a_set_alone() -> None:
    """What was computed with an adapter serves those who ask for the same, and nobody else."""
    loop = Loop()
    computed = []
    for adapters in ((A,), (A,), (B,), ()):
        before = loop.batcher.statistics().prompt_tokens
        loop.ask("x", adapters, tokens=2)
        loop.run()
        computed.append(loop.batcher.statistics().prompt_tokens - before)
    assert computed[1] == 1
    assert computed[0] == computed[2] == computed[3] > len(SHARED)


def test_a_cancelled_job_leaves_the_others_their_turns() -> None:
    """The set it alone has asked for gets no further turn."""
    loop = Loop()
    loop.ask("x1", (A,), tokens=400)
    loop.ask("x2", (B,))
    while not loop.tokens["x1"]:
        loop.step()
    loop.batcher.cancel("x1")
    loop.run()
    assert loop.ended["x1"].reason is StopReason.CANCELLED
    assert loop.tokens["x2"] == alone((B,))


def test_a_set_that_is_not_loaded_ends_its_job_alone() -> None:
    """The engine refuses it; who has asked for another set is served."""
    loop = Loop()
    loop.ask("x1", (Adapter("unknown"),))
    loop.ask("x2", (B,))
    loop.run()
    assert loop.ended["x1"].reason is StopReason.ERROR
    assert loop.tokens["x2"] == alone((B,))
