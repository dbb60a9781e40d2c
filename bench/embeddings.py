"""Vectors of 256 short texts: ours in one call and as singles at once, beside a rival.

    python -m bench.embeddings --rival equal --rounds 3
    python -m bench.embeddings --kind queries

Both servers hold the same model file and get the same texts. The rounds go to them in turn, and the
best of each counts, so that a noisy moment harms nobody. Without --model it is MiniLM with its real
weights, converted to F16 into the cache.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import httpx
import numpy as np
import trio

from bench.equal_build import cache_dir
from bench.machine import describe
from bench.minilm import fetch
from bench.servers import MODEL_NAME, Setup, open_server

CONNECTIONS = 64
THINGS = ("river", "market", "engine", "letter", "garden", "copper", "winter", "stone")

KINDS = {
    "sentences": "Sentence {} speaks of a {} and the {} of {}.",
    "queries": "{1} {2} {3}",
}
"""What people have turned into vectors: about sixteen tokens of a document, or three words that
they look for."""


def make_texts(count: int, kind: str) -> list[str]:
    """Texts of which none is like another, of a kind."""
    said = KINDS[kind]
    return [said.format(at, THINGS[at % 8], THINGS[at // 8 % 8], 1800 + at) for at in range(count)]


def default_model() -> Path:
    path = cache_dir() / "minilm-f16.gguf"
    if not path.exists():
        from trillama.models.convert import convert

        convert(fetch(cache_dir() / "minilm"), path, "F16")
    return path


class Client:
    """Asks one server by the API both speak, `/v1/embeddings`."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        self._http = httpx.AsyncClient(base_url=url, limits=limits, timeout=300, trust_env=False)

    async def ask(self, texts: list[str]) -> list[list[float]]:
        body = {"model": MODEL_NAME, "input": texts}
        reply = await self._http.post("/v1/embeddings", json=body)
        reply.raise_for_status()
        return [entry["embedding"] for entry in reply.json()["data"]]

    async def batch(self, texts: list[str]) -> list[list[float]]:
        """One call."""
        return await self.ask(texts)

    async def singles(self, texts: list[str]) -> list[list[float]]:
        """One call a text, one after the other."""
        return [(await self.ask([text]))[0] for text in texts]

    async def together(self, texts: list[str]) -> list[list[float]]:
        """One call a text, all at once over some connections."""
        found: dict[int, list[float]] = {}
        waiting = iter(enumerate(texts))

        async def work() -> None:
            for at, text in waiting:
                found[at] = (await self.ask([text]))[0]

        async with trio.open_nursery() as nursery:
            for _ in range(CONNECTIONS):
                nursery.start_soon(work)
        return [found[at] for at in range(len(texts))]


Case = Callable[[list[str]], Awaitable[list[list[float]]]]


async def timed(case: Case, texts: list[str]) -> tuple[float, np.ndarray]:
    begin = time.perf_counter()
    rows = await case(texts)
    return time.perf_counter() - begin, np.array(rows)


async def measure(
    cases: dict[str, Case], texts: list[str], rounds: int
) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Seconds of every round and the vectors of the last, by case; a short round comes first."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    rows: dict[str, np.ndarray] = {}
    for case in cases.values():
        await case(texts[:8])
    for _ in range(rounds):
        for name, case in cases.items():
            spent, rows[name] = await timed(case, texts)
            seconds[name].append(spent)
    return seconds, rows


def worst_cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / lengths).min())


async def compare(ours: str, rival: str, texts: list[str], rounds: int) -> None:
    mine, theirs = Client(ours), Client(rival)
    cases = {
        "ours, one call": mine.batch,
        "ours, singles at once": mine.together,
        "rival, one call": theirs.batch,
        "rival, singles at once": theirs.together,
        "rival, one at a time": theirs.singles,
    }
    seconds, rows = await measure(cases, texts, rounds)
    best = {name: min(all_of_them) for name, all_of_them in seconds.items()}
    print(f"{'':24} {'best s':>8} {'median s':>9} {'texts/s':>8}")
    for name, spent in best.items():
        middle = statistics.median(seconds[name])
        print(f"{name:24} {spent:8.3f} {middle:9.3f} {len(texts) / spent:8.0f}")
    for name in ("ours, one call", "ours, singles at once"):
        for other in ("rival, one at a time", "rival, one call"):
            print(f"{name} / {other}: {best[other] / best[name]:.2f} times as fast")
    agree = worst_cosine(rows["ours, one call"], rows["rival, one call"])
    print(f"worst cosine between ours and the rival's: {agree:.6f}")


@click.command(help=__doc__)
@click.option("--model", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--rival", default="equal", help="equal, xllamacpp, llama_cpp, or llama:MODEL@http://..."
)
@click.option("--texts", default=256)
@click.option("--kind", type=click.Choice(list(KINDS)), default="sentences")
@click.option("--rounds", default=3)
@click.option("--threads", default=os.cpu_count() or 1)
def main(model: Path | None, rival: str, texts: int, kind: str, rounds: int, threads: int) -> None:
    path = model or default_model()
    print(describe())
    print(f"{path.name}, {texts} {kind}, {threads} threads, rival: {rival}")
    setup = Setup(
        model=path, parallel=CONNECTIONS, context=CONNECTIONS * 256, threads=threads, embedding=True
    )
    with open_server("trillama", setup) as ours, open_server(rival, setup) as other:
        trio.run(compare, ours.target.url, other.target.url, make_texts(texts, kind), rounds)


if __name__ == "__main__":
    main()
