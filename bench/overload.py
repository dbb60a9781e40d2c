"""Five times as many clients as there is room for: do they all get on, equally, and how fast?

    python -m bench.overload --pool 40 --clients 200

The same requests are sent by as many clients as the pool holds and by all, in turns. The many have
eight keys, some with seven times as many clients as others: equal keys should get equal numbers of
tokens for as long as all of them want more. Then the queue is made short and kept full by as many
clients, who come back when they are told to, and probes ask how soon somebody is told so.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import httpx
import msgspec
import trio

from bench import machine
from bench.load import Load, Target, measure, stream_once
from bench.make_model import ModelShape, given_or_made
from bench.report import RESULTS
from bench.servers import Setup, open_server
from bench.stats import Reply, median, percentile

KEYS = (1, 1, 2, 2, 3, 4, 5, 7)
"""Clients of each key, in proportion."""
PROBES = 100


class Crowd(msgspec.Struct):
    """One load by all clients.

    Attributes:
        rate: output tokens per second of wall time.
        jain: fairness over the keys' tokens while all of them wanted more; 1 is equal.
        longest_wait: longest time to a first token of any key, over that key's median.
    """

    rate: float
    jain: float
    longest_wait: float


def jain(amounts: Sequence[float]) -> float:
    """Jain's index: 1 where all are equal, 1/n where one has everything."""
    return sum(amounts) ** 2 / (len(amounts) * sum(x * x for x in amounts))


def owners(clients: int) -> list[int]:
    """The key of each client."""
    whole = [clients * part // sum(KEYS) for part in KEYS]
    whole[-1] += clients - sum(whole)
    return [key for key, count in enumerate(whole) for _ in range(count)]


async def run_crowd(target: Target, load: Load) -> dict[int, list[Reply]]:
    """The replies of each key; a client sends its next request when the last one has ended."""
    replies: dict[int, list[Reply]] = {key: [] for key in range(len(KEYS))}
    indices = iter(range(load.requests))

    async def client(key: int) -> None:
        for index in indices:
            one = replace(target, key=f"key-{key}")
            replies[key].append(await stream_once(one, load.prompt(index), load.new_tokens))

    with trio.fail_after(load.seconds):
        async with trio.open_nursery() as nursery:
            for key in owners(load.clients):
                nursery.start_soon(client, key)
    return replies


def judge(replies: dict[int, list[Reply]], pool: int) -> Crowd:
    """What the load was like.

    Raises:
        RuntimeError: a request failed; the queue has room for all of them.
    """
    flat = [reply for own in replies.values() for reply in own]
    if troubles := {reply.error for reply in flat} - {None}:
        raise RuntimeError(f"requests failed: {sorted(map(str, troubles))[:3]}")
    begin, end = min(r.sent for r in flat), max(r.ended for r in flat)
    # From when the pool is full until the first key has nothing left to send.
    since = sorted(r.texts[0] for r in flat)[pool]
    until = min(max(r.sent for r in own) for own in replies.values())
    served = [sum(since <= at <= until for r in own for at in r.texts) for own in replies.values()]
    waits = [[r.texts[0] - r.sent for r in own] for own in replies.values()]
    return Crowd(
        rate=sum(r.output_tokens for r in flat) / (end - begin),
        jain=jain(served),
        longest_wait=max(max(own) / median(own) for own in waits),
    )


async def keep_full(target: Target, load: Load) -> None:
    """Send requests until cancelled. A client that is refused does as well-behaved ones do: it
    waits as long as it was told, and up to half of that longer, so that not all come back at once.

    Raises:
        RuntimeError: a request failed otherwise than by a refusal.
    """

    async def client(number: int) -> None:
        dice = random.Random(number)
        while True:
            prompt = load.prompt(dice.getrandbits(32))
            reply = await stream_once(target, prompt, load.new_tokens)
            if reply.retry_after:
                await trio.sleep(reply.retry_after * dice.uniform(1.0, 1.5))
            elif reply.error:
                raise RuntimeError(f"a request failed: {reply.error}")

    async with trio.open_nursery() as nursery:
        for number in range(load.clients):
            nursery.start_soon(client, number)


async def probe(target: Target, load: Load) -> list[float]:
    """Seconds until each of PROBES requests was told to come back, while the queue is full."""
    found: list[float] = []
    body = {"model": target.model, "prompt": "x", "stream": False}
    async with (
        httpx.AsyncClient(base_url=target.url, trust_env=False, timeout=60) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(keep_full, target, load)
        until = time.perf_counter() + load.seconds
        while len(found) < PROBES and time.perf_counter() < until:
            begin = time.perf_counter()
            reply = await client.post("/api/generate", json=body | {"options": {"num_predict": 1}})
            if reply.status_code == 503:
                found.append(time.perf_counter() - begin)
                if not reply.headers["retry-after"].isdecimal():
                    raise RuntimeError("a refusal that does not say when to come back")
            await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    return found


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="default: a small one")
@click.option("--pool", default=40, show_default=True, help="sequences at once")
@click.option("--clients", default=200, show_default=True)
@click.option("--requests", default=600, show_default=True)
@click.option("--prompt-tokens", default=64, show_default=True)
@click.option("--new-tokens", default=48, show_default=True)
@click.option("--pairs", default=3, show_default=True)
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(model: Path | None, pool: int, clients: int, pairs: int, threads: int, **kw: int) -> None:
    machine.warn_if_busy()
    crowd = Load(clients=clients, seconds=300, **kw)
    with given_or_made(model, ModelShape(8, 512, 1408, 8, 4, 4096, 2048), "Q4_0") as path:
        setup = Setup(path, pool, pool * (crowd.whole_prompt + crowd.new_tokens + 8), threads)
        full, crowds = [], []
        with open_server("trillama", setup) as server:
            for pair in range(pairs):
                few, _ = measure(server.target, replace(crowd, clients=pool, seed=2 * pair))
                if few.errors:
                    raise RuntimeError(f"{few.errors} of {pool} clients' requests failed")
                load = replace(crowd, seed=2 * pair + 1)
                many = judge(trio.run(run_crowd, server.target, load), pool)
                full.append(few.output_rate)
                crowds.append(many)
                print(f"{pool} clients: {few.output_rate:.0f} tokens/s, {clients}: {many}")
        with open_server("trillama", replace(setup, queue=pool // 2)) as server:
            busy = replace(crowd, seconds=40)
            told = trio.run(probe, server.target, busy)
    print(f"rate: {median([c.rate / r for c, r in zip(crowds, full, strict=True)]):.2f} times")
    print(f"fairness over {len(KEYS)} keys: {median([c.jain for c in crowds]):.3f}")
    print(f"longest wait of a key: {max(c.longest_wait for c in crowds):.1f} times its median")
    print(f"failed: none of {2 * pairs * crowd.requests}")
    p50, p99 = (1000 * percentile(told, q) for q in (50, 99))
    print(f"told to come back: {len(told)} times, p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    RESULTS.mkdir(exist_ok=True)
    result = {"facts": machine.describe(), "full": full, "crowds": crowds, "told": told}
    (RESULTS / "overload.json").write_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
