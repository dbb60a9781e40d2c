"""A batcher stepped by hand."""

from __future__ import annotations

from collections import defaultdict

from trillama.base.events import Ended, Sampled
from trillama.batching import Batcher


class Stepped:
    """What the jobs of a batcher say, and how they end; its book is checked after every step."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.tokens: defaultdict[str, list[int]] = defaultdict(list)
        self.ended: dict[str, Ended] = {}

    def step(self) -> None:
        for event in self.batcher.step():
            if isinstance(event, Sampled):
                self.tokens[event.job_id].append(event.token)
            elif isinstance(event, Ended):
                self.ended[event.job_id] = event
        self.batcher.check()

    def run(self) -> None:
        """Until there is nothing left to do."""
        while self.batcher.has_work:
            self.step()
