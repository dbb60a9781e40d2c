"""What does the beginning of a prompt cost: computed, shared in the pool, restored from the host?

    python -m bench.prefix --tokens 1000 --types f16,q8_0,q4_0

One prompt after the other in a pool that holds little more than one, for each type of the KV cache:
new to the engine; then with its first tokens cached; then after another prompt has driven them out
to the host's memory. Every figure is the time to the first token of the answer, and the ratios are
medians over rounds. Then so many tokens of one answer, because the type also decides what
attention costs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import click
import msgspec
import numpy as np
import numpy.typing as npt

from bench import machine
from bench.make_model import ModelShape, given_or_made
from bench.report import RESULTS
from bench.stats import median
from trillama.base.events import Sampled
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher
from trillama.engine.base import ContextParams, LoadParams
from trillama.engine.llama import LlamaBackend, LlamaModel

OWN = 16
"""Tokens at the end of every prompt that no other has."""
WORD = 300
"""Ids from here on are words of every vocabulary that is made here."""
ANSWER = 64

Tokens = npt.NDArray[np.int32]


@dataclass
class Costs:
    """Of one type of cache; milliseconds to the first token, one for each round.

    Attributes:
        driving: a new prompt that drives another one out.
        image: bytes of a prompt's image in the host's memory.
        answer: milliseconds of a token of an answer behind such a prompt.
    """

    computed: list[float] = field(default_factory=list)
    shared: list[float] = field(default_factory=list)
    driving: list[float] = field(default_factory=list)
    restored: list[float] = field(default_factory=list)
    answer: list[float] = field(default_factory=list)
    image: int = 0

    def gain(self, times: list[float]) -> float:
        """How many times faster than computing, the median of the rounds."""
        return median([a / b for a, b in zip(self.computed, times, strict=True)])

    def line(self, kind: str) -> str:
        """One row of the table."""
        gains = [self.gain(times) for times in (self.shared, self.restored, self.driving)]
        figures = "".join(f"{gain:12.2f}" for gain in gains)
        return f"{kind:8}{figures}{self.image / 2**20:12.2f}{median(self.answer):12.3f}"


COLUMNS = ("shared x", "restored x", "driving x", "image MiB", "ms/token")
HEAD = f"{'type':8}" + "".join(f"{name:>12}" for name in COLUMNS)


class Engine:
    """A batcher, asked one prompt at a time."""

    def __init__(self, model: LlamaModel, kind: str, tokens: int, threads: int) -> None:
        params = ContextParams(
            cells=tokens + tokens // 2 + ANSWER, sequences=8, outputs=8, threads=threads,
            cache_type_k=kind, cache_type_v=kind,
        )  # fmt: skip
        self.batcher = Batcher(model.open_context(params))
        self._names = map(str, count())

    def ask(self, prompt: Tokens, most: int = 1) -> list[float]:
        """Milliseconds from the question to each token of the answer."""
        options, begin = Options(temperature=0, num_predict=most), time.perf_counter()
        self.batcher.submit(
            Job(id=next(self._names), prompt=prompt, options=options, limit=1 << 20)
        )
        seen: list[float] = []
        while self.batcher.has_work:
            sampled = sum(isinstance(event, Sampled) for event in self.batcher.step())
            seen += [1e3 * (time.perf_counter() - begin)] * sampled
        return seen


def measure(model: LlamaModel, kind: str, sizes: tuple[int, int, int]) -> Costs:
    """All costs of one type of cache; sizes are tokens, rounds and threads."""
    tokens, rounds, threads = sizes
    engine, costs, random = Engine(model, kind, tokens, threads), Costs(), np.random.default_rng(0)

    def words(length: int) -> Tokens:
        return random.integers(WORD, model.vocabulary.size - WORD, length).astype(np.int32)

    def asked(stem: Tokens) -> float:
        return engine.ask(np.concatenate([stem, words(OWN)]))[0]

    asked(words(tokens))  # the first one does not count
    for _ in range(rounds):
        engine.batcher.drop_cache()
        stem = words(tokens)
        costs.computed.append(asked(stem))
        costs.shared.append(asked(stem))
        costs.driving.append(asked(words(tokens)))
        before = engine.batcher.statistics().kv
        costs.restored.append(asked(stem))
        if engine.batcher.statistics().kv.restored == before.restored:
            raise RuntimeError("nothing was restored from the host")
        costs.image = before.saved_bytes // before.saved
    times = engine.ask(np.concatenate([stem, words(OWN)]), ANSWER)
    costs.answer = np.diff(times).tolist()
    engine.batcher.close()
    return costs


@contextmanager
def loaded(path: Path | None) -> Iterator[LlamaModel]:
    """The model of a file, or one that is made for the occasion."""
    with given_or_made(path, ModelShape(12, 768, 2048, 12, 4, 8192, 8192), "Q8_0") as path:
        model = LlamaBackend().load(str(path), LoadParams())
        yield model
        model.close()


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="default: a made one")
@click.option("--tokens", default=1000, show_default=True)
@click.option("--types", default="f16,q8_0,q4_0", show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(model: Path | None, tokens: int, types: str, rounds: int, threads: int) -> None:
    machine.warn_if_busy()
    print(f"{tokens} tokens; times faster than computing them\n{HEAD}")
    found = {}
    with loaded(model) as weights:
        for kind in types.split(","):
            found[kind] = measure(weights, kind, (tokens, rounds, threads))
            print(found[kind].line(kind), flush=True)
    RESULTS.mkdir(exist_ok=True)
    result = {"facts": machine.describe(), "tokens": tokens, "costs": found}
    (RESULTS / "prefix.json").write_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
