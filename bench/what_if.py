"""What would a GPU do? The step loop at a GPU's prices, on no GPU.

    python -m bench.what_if --clients 8,32,64,128
    python -m bench.what_if --clients 32 --long 32000

The batcher, its budget and its book of streams are the server's own; the context computes nothing
and moves a clock by what an execution of llama.cpp's graph was seen to take: 8B in Q4_K on an H200,
times in `docs/BENCHMARKS.md`. A batch is cut into executions as llama.cpp cuts it. Says how a rule
of the scheduler would change throughput and gaps, before a GPU is asked; not how fast one is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import click
import numpy as np

from bench.stats import median, percentile
from trillama.base.events import Ended, Sampled, StepEvent
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher, Policy
from trillama.engine.base import RANKS, Batch, ContextParams, DecodeStatus, Ranked
from trillama.engine.budget import StepBudget
from trillama.engine.fake import FakeContext, FakeWeights, Hooks

MICRO_BATCH = 512
LONE_MS = 3.6
HEADS_MS = ((1, 8, 32, 64, 128), (LONE_MS, 7.5, 10.1, 14.0, 22.5))
"""Streams that each compute a token, and milliseconds."""
CHUNK_MS = ((1, 32, 96, 256, 512), (9.0, 11.5, 16.6, 33.8, 57.0))
"""Prompt tokens of one execution, and milliseconds."""
NEW_GRAPH_MS = 2.3
"""More for an execution unlike the one before."""
DEPTH_MS = 2.2e-6
"""For each prompt token and each position before it."""
OWN_MS, COPY_MS = 0.95, 1.0
"""What is not llama.cpp's of a decode; a copy of a stream."""
RETURN_MS = 2.0
"""From an answer to the client's next request."""
WARM_MS = 2500.0
"""Before a long prompt comes."""
PROMPT, NEW, WAVES = 256, 128, 4


class Clock:
    """Milliseconds that passed; called, nanoseconds."""

    now = 0.0

    def __call__(self) -> int:
        return int(self.now * 1e6)


def executions(rows: Counter[int]) -> Iterator[tuple[int, int]]:
    """(sequences, rows of each) of every execution; `rows` counts them by sequence, see llama.cpp
    src/llama-batch.cpp (split_equal, sequential)."""
    left = dict(rows)
    while left:
        together = [min(left)]
        while together[-1] + 1 in left and len(together) < MICRO_BATCH:
            together.append(together[-1] + 1)
        most = max(1, MICRO_BATCH // len(together))
        each = min(most, *(left[at] for at in together))
        yield len(together), each
        left = {at: n - each * (at in together) for at, n in left.items()}
        left = {at: n for at, n in left.items() if n}


def price_ms(sequences: int, each: int, depth: int) -> float:
    """Milliseconds of an execution; with one row each it is one of streams that generate."""
    if each == 1:
        return float(np.interp(sequences, *HEADS_MS))
    rows = sequences * each
    return float(np.interp(rows, *CHUNK_MS)) + DEPTH_MS * depth * rows


class PricedContext(FakeContext):
    """A context of streams that computes nothing, and takes its time for it.

    Attributes:
        chunks: rows and milliseconds of each execution of prompts.
    """

    def __init__(self, streams: int, room: int, clock: Clock) -> None:
        params = ContextParams(
            cells=streams * room, sequences=streams, outputs=streams, unified=False
        )
        super().__init__(FakeWeights(ranks=True), Hooks(), params)
        random = np.random.default_rng(0)
        best = np.sort(random.standard_normal((streams, RANKS)).astype(np.float32))[:, ::-1]
        self._ranks = Ranked(best, random.integers(10, 250, (streams, RANKS)))
        self._clock = clock
        self._before: object = None
        self._wanted = 0
        self.chunks: list[tuple[int, float]] = []

    def decode(self, batch: Batch) -> DecodeStatus:
        """Take the time of a decode."""
        rows = Counter(batch.sequences[: batch.size].tolist())
        depth = int(batch.positions[: batch.size].max())
        for sequences, each in executions(rows):
            took = price_ms(sequences, each, depth)
            shape = (sequences, each, tuple(sorted(rows)))
            if shape != self._before and each == 1:
                took += NEW_GRAPH_MS
            if each > 1:
                self.chunks.append((sequences * each, took))
            self._before = shape
            self._clock.now += took
        self._clock.now += OWN_MS
        self._wanted = batch.outputs
        return DecodeStatus.OK

    def ranked(self) -> Ranked | None:
        """Some ranks."""
        wanted, (logits, ids) = self._wanted, self._ranks
        return Ranked(logits[:wanted], ids[:wanted]) if wanted else None

    def seq_remove(self, sequence: int, start: int = 0, end: int = -1) -> bool:
        """Costs nothing."""
        return True

    def seq_copy(self, source: int, target: int, start: int, end: int) -> None:
        """Costs time."""
        self._clock.now += COPY_MS


@dataclass
class Outcome:
    """What the clients saw, in milliseconds; a gap comes with when it ended."""

    tokens: int = 0
    ended: int = 0
    first: list[float] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)


class Trial:
    """Closed-loop clients in front of a step loop: each asks again as soon as it was answered."""

    def __init__(self, clients: int, longest: int) -> None:
        self.clock = Clock()
        spare = -(-clients // 8)
        self.context = PricedContext(clients + spare + 1, longest, self.clock)
        budget = StepBudget("auto", self.context.limits, int(LONE_MS * 1e6))
        policy = Policy(speculation=False)
        context: Any = self.context
        self.batcher = Batcher(context, policy, clock=self.clock, budget=budget)
        self.outcome = Outcome()
        self._random = np.random.default_rng(1)
        self._limit = longest - 1
        self._sent: dict[str, float] = {}
        self._latest: dict[str, float] = {}
        self._count = 0
        self._due: list[float] = []

    def ask(self, prompt: int, new: int) -> None:
        """Send a request nobody has sent before."""
        self._count += 1
        name = str(self._count)
        tokens = self._random.integers(10, 250, prompt).astype(np.int32)
        options = Options(num_predict=new)
        self.batcher.submit(Job(id=name, prompt=tokens, options=options, limit=self._limit))
        self._sent[name] = self.clock.now

    def step(self, again: int = 0) -> None:
        """One step; whoever was answered asks again, `again` requests in all."""
        events: list[StepEvent] = []
        events += self.batcher.step(events.extend)
        for event in events:
            self._note(event)
        self._due = [at for at in self._due if not self._came(at, again)]
        if not self.batcher.has_work and self._due:
            self.clock.now = max(self.clock.now, min(self._due))

    def _came(self, at: float, again: int) -> bool:
        if at > self.clock.now:
            return False
        if self._count < again:
            self.ask(PROMPT, NEW)
        return True

    def _note(self, event: StepEvent) -> None:
        if isinstance(event, Sampled):
            at, name = event.at / 1e6, event.job_id
            if name in self._latest:
                self.outcome.gaps.append((at, at - self._latest[name]))
            else:
                self.outcome.first.append(at - self._sent[name])
            self._latest[name] = at
            self.outcome.tokens += 1
        elif isinstance(event, Ended):
            self.outcome.ended += 1
            self._due.append(self.clock.now + RETURN_MS)


def crowd(clients: int) -> str:
    """A line of figures for a number of clients."""
    trial = Trial(clients, 512)
    for _ in range(clients):
        trial.ask(PROMPT, NEW)
    while trial.outcome.ended < clients * WAVES:
        trial.step(clients * WAVES)
    outcome, chunks = trial.outcome, trial.context.chunks
    gaps = [gap for _, gap in outcome.gaps]
    rows, took = (sum(column) for column in zip(*chunks, strict=True))
    figures = [
        1e3 * outcome.tokens / trial.clock.now, median(outcome.first), median(gaps),
        percentile(gaps, 99), 1e3 * rows / took, rows / len(chunks),
    ]  # fmt: skip
    return f"{clients:8}" + "".join(f"{value:12,.0f}" for value in figures)


def long_prompt(streams: int, tokens: int) -> str:
    """A line about streams that a long prompt joins."""
    trial = Trial(streams, tokens + 1024)
    for _ in range(streams):
        trial.ask(PROMPT, 20_000)
    while trial.clock.now < WARM_MS:
        trial.step()
    begun, before = trial.clock.now, [gap for _, gap in trial.outcome.gaps]
    answered = len(trial.outcome.first)
    trial.ask(tokens, 8)
    while len(trial.outcome.first) == answered:
        trial.step()
    during = [gap for at, gap in trial.outcome.gaps if at > begun + 4 * median(before)]
    p99, usual = percentile(during, 99), median(before)
    return (
        f"{tokens} tokens among {streams} streams: gaps {usual:.1f} ms before, p99 {p99:.1f} ms "
        f"({p99 / usual:.2f}), first token after {(trial.clock.now - begun) / 1e3:.1f} s"
    )


HEAD = ("tokens/s", "first, ms", "gap p50", "gap p99", "prompt t/s", "t/execution")


def lines(clients: Sequence[int], long: int) -> Iterator[str]:
    """What is printed, as it is found."""
    if long:
        yield from (long_prompt(count, long) for count in clients)
        return
    yield " clients" + "".join(f"{name:>12}" for name in HEAD)
    yield from map(crowd, clients)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--clients", default="8,32,64,128", show_default=True)
@click.option("--long", default=0, help="tokens of a long prompt that joins so many streams")
def main(clients: str, long: int) -> None:
    for line in lines([int(count) for count in clients.split(",")], long):
        print(line, flush=True)


if __name__ == "__main__":
    main()
