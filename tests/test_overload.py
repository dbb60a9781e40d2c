"""Many more clients than an engine holds: throughput, fairness, nobody starves.

The step loop runs on a modelled clock, so what is measured is what it decides: which rows are in
which decode. A decode takes 3 ms and 0.15 ms a row.
"""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from trillama.base.events import Ended, Sampled
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher, Policy
from trillama.engine.base import Batch, ContextParams
from trillama.engine.fake import Hooks, babble, open_fake_context

KEYS = 8
TOKENS = 20_000
TIGHT = 4960
"""Cells that hold 40 requests of the usual size."""


class Crowd:
    """Clients in a closed loop on one engine.

    Attributes:
        got: output tokens by key.
        answers: whole answers by client.
    """

    def __init__(self, keys: list[str], *, cells: int, live: int) -> None:
        hooks = Hooks(on_decode=self._decode)
        params = ContextParams(cells=cells, sequences=128, outputs=live, batch=512, micro_batch=128)
        self._keys = keys
        self._clock = 0
        self._chooser = random.Random(7)
        self._limit = cells
        context = open_fake_context(babble, params, hooks=hooks)
        policy = Policy(max_live=live)
        self.batcher = Batcher(context, policy, clock=lambda: self._clock)
        self.got: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()

    def _decode(self, batch: Batch) -> None:
        self._clock += 3_000_000 + 150_000 * batch.size

    def _ask(self, client: int) -> None:
        letters = [self._chooser.randrange(97, 122) for _ in range(self._chooser.randrange(30, 90))]
        new_tokens = self._chooser.randrange(32, 96)
        self.batcher.submit(
            Job(
                id=f"{client}.{self.answers[client]}",
                prompt=np.array(letters, np.int32),
                options=Options(temperature=0, num_predict=new_tokens),
                limit=self._limit,
                client=self._keys[client],
            )
        )

    def run(self) -> float:
        """Until TOKENS were said; tokens a second."""
        for client in range(len(self._keys)):
            self._ask(client)
        while self.got.total() < TOKENS:
            for event in self.batcher.step():
                client = int(event.job_id.partition(".")[0])
                if isinstance(event, Sampled):
                    self.got[self._keys[client]] += 1
                elif isinstance(event, Ended):
                    assert event.error is None
                    self.answers[client] += 1
                    self._ask(client)
        return self.got.total() * 1e9 / self._clock

    @property
    def fairness(self) -> float:
        """Jain's index over the keys."""
        shares = [self.got[f"key {n}"] for n in range(KEYS)]
        return sum(shares) ** 2 / (KEYS * sum(share**2 for share in shares))


EVEN = [f"key {n % KEYS}" for n in range(200)]
HOGGED = ["key 0"] * 130 + [f"key {n % 7 + 1}" for n in range(70)]


@pytest.mark.parametrize("keys", [EVEN, HOGGED], ids=["even", "one key has most clients"])
@pytest.mark.parametrize(("cells", "live"), [(65_536, 40), (TIGHT, 64)], ids=["roomy", "tight"])
def test_two_hundred_clients_are_served_as_well_as_forty(
    keys: list[str], cells: int, live: int
) -> None:
    """No throughput is lost to the crowd, keys get the same, and so do the clients of one key."""
    few = Crowd([f"key {n % KEYS}" for n in range(40)], cells=cells, live=live).run()
    crowd = Crowd(keys, cells=cells, live=live)
    assert crowd.run() >= 0.95 * few
    assert crowd.fairness >= 0.95
    for key in set(keys):
        answers = [crowd.answers[client] for client, own in enumerate(keys) if own == key]
        assert max(answers) - min(answers) <= 2


def test_a_pool_too_small_for_all_pauses_few() -> None:
    """Who is admitted mostly ends without having had to step back."""
    crowd = Crowd(EVEN, cells=TIGHT, live=64)
    crowd.run()
    assert crowd.batcher.statistics().preemptions < 0.1 * crowd.answers.total()
