"""What does a schema cost? Output tokens/s with one on every stream, next to none on any.

    python -m bench.structured --model m.gguf --clients 1,16

One server, runs in turns (with, without, with, without), the same prompts and lengths. The schema
is an array that is longer than any answer, so that every answer is cut at the same length. On a
model of random weights nearly every token is refused at first, which is the worst there is; on a
trained one few are. Then bombs: schemas and expressions that are costly to compile are sent while
free streams run, and the streams' rate is set against their rate without.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import msgspec
import trio

from bench import machine
from bench.load import Load, Target, measure, run_load, stream_into
from bench.report import RESULTS
from bench.servers import Running, Setup, open_server
from bench.stats import Reply, median

SCHEMA = {
    "type": "array",
    "minItems": 500,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 40},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "address": {
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"enum": ["Oslo", "Rome"]}},
                "required": ["street", "city"],
                "additionalProperties": False,
            },
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
        },
        "required": ["name", "age", "address", "tags"],
        "additionalProperties": False,
    },
}
BOMBS: tuple[dict[str, Any], ...] = (
    {"format": {"type": "integer", "multipleOf": 9_973}},
    {"options": {"regex": "(a{1000}){1000}"}},
    {"options": {"regex": "(a?){500}a{500}"}},
    {"format": {"enum": [f"value number {number}" for number in range(50_000)]}},
)


class Pair(msgspec.Struct):
    """Neighbouring runs: output tokens/s, and the server's processor time a token in ms."""

    clients: int
    free: float
    kept: float
    free_cpu: float
    kept_cpu: float
    wrong: int

    @property
    def ratio(self) -> float:
        return self.kept / self.free

    @property
    def cpu_ratio(self) -> float:
        return self.free_cpu / self.kept_cpu


class Bombed(msgspec.Struct):
    """Rates of the streams without and with bombs, and what became of each bomb (seconds)."""

    before: float
    during: float
    refusals: list[tuple[float, str]]


@dataclass(frozen=True)
class Question:
    """`clients` closed-loop clients, `requests` each of `new_tokens`."""

    clients: int
    requests: int
    new_tokens: int

    def load(self, seed: int) -> Load:
        return Load(self.clients, 32, self.new_tokens, self.clients * self.requests, seed=seed)


def cpu_seconds(pid: int) -> float:
    """Processor time a process has taken; unlike a rate it hardly depends on its neighbours."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def compare(server: Running, question: Question, seed: int) -> Pair:
    """One run without and one with the schema, after a request each that warms up."""
    rates, costs, wrong = [], [], 0
    for extra in ({}, {"format": SCHEMA}):
        target = replace(server.target, extra=extra)
        trio.run(run_load, target, replace(question.load(seed + 1_000_003), new_tokens=8))
        before = cpu_seconds(server.pid or os.getpid())
        summary, replies = measure(target, question.load(seed), warm_up=False)
        spent = cpu_seconds(server.pid or os.getpid()) - before
        rates.append(summary.output_rate)
        costs.append(1e3 * spent / max(1, sum(reply.output_tokens for reply in replies)))
        wrong += summary.errors + summary.wrong_lengths
    return Pair(question.clients, rates[0], rates[1], costs[0], costs[1], wrong)


async def bomb(target: Target, streams: int, seconds: float) -> Bombed:
    """Rate of free streams for `seconds`, then for as long again with a bomb every second."""
    replies = [Reply(0.0, [], 0.0) for _ in range(streams)]
    refusals: list[tuple[float, str]] = []

    async def throw(number: int) -> None:
        reply, began = Reply(0.0, [], 0.0), time.perf_counter()
        extra = BOMBS[number % len(BOMBS)]
        await stream_into(reply, replace(target, extra=extra), f"bomb {number}", 8)
        refusals.append((time.perf_counter() - began, (reply.error or "accepted")[:120]))

    load = Load(streams, 32, 1_000_000, streams, seed=5)
    async with trio.open_nursery() as nursery:
        for number, reply in enumerate(replies):
            nursery.start_soon(stream_into, reply, target, load.prompt(number), load.new_tokens)
        while min(len(reply.texts) for reply in replies) < 8:  # noqa: ASYNC110 - replies tell nobody
            await trio.sleep(0.02)
        begin = time.perf_counter()
        await trio.sleep(seconds)
        middle = time.perf_counter()
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as bombs:
                for number in range(int(seconds)):
                    bombs.start_soon(throw, number)
                    await trio.sleep(1)
                await trio.sleep_forever()
        end = time.perf_counter()
        nursery.cancel_scope.cancel()
    times = sorted(at for reply in replies for at in reply.texts)
    before = sum(begin <= at < middle for at in times) / (middle - begin)
    during = sum(middle <= at < end for at in times) / (end - middle)
    return Bombed(before, during, refusals)


def format_pairs(pairs: list[Pair]) -> str:
    head = f"{'clients':>8}{'free':>10}{'schema':>10}{'ratio':>8}{'range':>16}   tokens/s"
    lines = [f"{head}{'free':>10}{'schema':>10}{'ratio':>8}   CPU ms a token"]
    for clients in dict.fromkeys(pair.clients for pair in pairs):
        mine = [pair for pair in pairs if pair.clients == clients]
        ratios = sorted(pair.ratio for pair in mine)
        free, kept = (median([getattr(pair, name) for pair in mine]) for name in ("free", "kept"))
        spread = f"{ratios[0]:.2f}..{ratios[-1]:.2f}"
        costs = [
            median([getattr(pair, name) for pair in mine]) for name in ("free_cpu", "kept_cpu")
        ]
        cpu = median([pair.cpu_ratio for pair in mine])
        rates = f"{clients:8}{free:10.1f}{kept:10.1f}{median(ratios):8.2f}{spread:>16}"
        lines.append(f"{rates}{costs[0]:21.2f}{costs[1]:10.2f}{cpu:8.2f}")
        if wrong := sum(pair.wrong for pair in mine):
            lines.append(f"  ! {wrong} errors or answers of another length")
    return "\n".join(lines)


def format_bombed(found: Bombed) -> str:
    lines = [f"streams: {found.before:.1f} tokens/s, with bombs {found.during:.1f}"]
    lines += [f"  {seconds:5.2f} s  {what}" for seconds, what in found.refusals]
    return "\n".join(lines)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--model", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--clients", default="1,16", show_default=True)
@click.option("--pairs", default=3, show_default=True)
@click.option("--requests", default=2, show_default=True, help="of each client")
@click.option("--new-tokens", default=200, show_default=True)
@click.option("--bomb-seconds", default=8.0, show_default=True, help="0 leaves the bombs out")
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(
    model: Path, clients: str, pairs: int, bomb_seconds: float, threads: int, **sizes: int
) -> None:
    machine.warn_if_busy()
    counts = [int(count) for count in clients.split(",")]
    cells = max(counts) * (64 + max(sizes["new_tokens"], 1024)) + 1024
    result: dict[str, Any] = {"facts": machine.describe()}
    with open_server("trillama", Setup(model, max(counts) + 4, cells, threads)) as server:
        done = [
            compare(server, Question(count, **sizes), seed)
            for count in counts
            for seed in range(pairs)
        ]
        print(format_pairs(done), flush=True)
        result["pairs"] = done
        if bomb_seconds:
            found = trio.run(bomb, server.target, 4, bomb_seconds)
            print(format_bombed(found))
            result["bombs"] = found
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "structured.json").write_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
