"""Given up prefixes come back from the host's memory, with the bundled model."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.stepping import Stepped
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher, Policy
from trillama.engine.base import ContextParams
from trillama.engine.llama import LlamaModel

LONG = 400


class Conversations:
    """Long prompts, one after the other, where the memory has room for two of them."""

    def __init__(self, tiny: LlamaModel, *, unified: bool, kind: str, host_cache: int) -> None:
        params = ContextParams(
            cells=1024, sequences=2, outputs=2, batch=256, threads=1, unified=unified,
            cache_type_k=kind, cache_type_v=kind,
        )  # fmt: skip
        self.context = tiny.open_context(params)
        policy = Policy(step_budget="off", host_cache=host_cache)
        self.run = Stepped(Batcher(self.context, policy))

    def say(self, name: str, about: int, end: str) -> list[int]:
        """Greedy tokens after ``LONG`` tokens about something and an ending."""
        words = self.context.vocabulary.tokenize
        stem = np.resize(words(f"The number of the {about}. house is {about * 37}. "), LONG)
        prompt = np.concatenate([stem, words(end)]).astype(np.int32)
        options = Options(temperature=0, num_predict=12)
        self.run.batcher.submit(Job(id=name, prompt=prompt, options=options, limit=512))
        self.run.run()
        return self.run.tokens[name]

    def close(self) -> None:
        self.run.batcher.close()
        self.context.close()


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
@pytest.mark.parametrize("unified", [True, False])
def test_what_comes_back_says_the_same(tiny: LlamaModel, unified: bool, kind: str) -> None:
    """A prefix that was given up and restored leads to the words of one that was computed."""
    cold = Conversations(tiny, unified=unified, kind=kind, host_cache=0)
    expected = cold.say("again", 1, "So the second house")
    cold.close()
    warm = Conversations(tiny, unified=unified, kind=kind, host_cache=1 << 26)
    for about in (1, 2, 3, 4):
        warm.say(f"first {about}", about, "And now")
    assert warm.run.batcher.statistics().kv.saved >= 2

    assert warm.say("again", 1, "So the second house") == expected

    assert warm.run.batcher.statistics().kv.restored >= LONG
    warm.close()
