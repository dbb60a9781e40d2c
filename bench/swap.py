"""Two models that do not fit together take turns: does anything stay behind?

    python -m bench.swap --cycles 200

A limit on memory lets one of two models in; requests alternate between them, so each evicts the
other. What the server's process holds (resident memory, files, threads) is noted each time a model
has answered. Then one model is loaded and unloaded by itself: what a load takes, and how much of it
an unload gives back.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import httpx
import msgspec

from bench import machine
from bench.make_model import ModelShape, write_model
from bench.report import RESULTS
from bench.servers import Command, Setup, resident_bytes, started, trillama_command
from bench.stats import median

SHAPE = ModelShape(8, 512, 1408, 8, 4, 4096, 2048)
CELLS = 16_384
SETTLED = 0.1
"""Part of the cycles at the start that are not compared: caches and pools fill."""
SETTLE_TIME = 0.3
"""Seconds in which a model that has left the list gives its memory back."""
MIB = 1 << 20


@dataclass(frozen=True)
class Held:
    """What a process holds: bytes, numbers of files and threads."""

    memory: int
    files: int
    threads: int


def held(pid: int) -> Held:
    process = Path(f"/proc/{pid}")
    files = len(list((process / "fd").iterdir()))
    return Held(resident_bytes(pid), files, len(list((process / "task").iterdir())))


class Client:
    """Asks the server for one short answer at a time."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=120, trust_env=False)

    def ask(self, model: str, **more: Any) -> None:
        body = {"model": model, "prompt": "word", "raw": True, "stream": False, **more}
        self._http.post("/api/generate", json=body).raise_for_status()

    def answer(self, model: str) -> None:
        self.ask(model, options={"num_predict": 4})

    def unload(self, model: str) -> None:
        self._http.post("/api/generate", json={"model": model, "keep_alive": 0}).raise_for_status()
        while self.resident():
            time.sleep(0.02)
        time.sleep(SETTLE_TIME)

    def resident(self) -> dict[str, int]:
        found = self._http.get("/api/ps").json()["models"]
        return {model["name"]: model["size"] for model in found}


def alternate(client: Client, pid: int, names: list[str], cycles: int) -> list[Held]:
    """What the process holds after each answer; each one evicts the other's model."""
    found = []
    for number in range(cycles):
        name = names[number % len(names)]
        client.answer(name)
        if list(client.resident()) != [f"{name}:latest"]:
            raise click.ClickException(f"{client.resident()} are resident beside {name}")
        found.append(held(pid))
    return found


def freed(client: Client, pid: int, name: str, rounds: int) -> list[float]:
    """The part of what a load took that its unload gave back."""
    shares = []
    for _ in range(rounds):
        before = resident_bytes(pid)
        client.answer(name)
        loaded = resident_bytes(pid)
        client.unload(name)
        shares.append((loaded - resident_bytes(pid)) / (loaded - before))
    return shares


def one_at_a_time(setup: Setup, store: Path, limit: int) -> Any:
    """The server's command, with memory for one of the models."""

    def command(port: int) -> Command:
        made = trillama_command(setup, port, store)
        return replace(made, env={**made.env, "TRILLAMA_MEMORY_LIMIT": str(limit)})

    return command


def need(setup: Setup, store: Path, name: str) -> int:
    """Bytes that one model takes, as the server says."""
    with started(one_at_a_time(setup, store, 0)) as server:
        client = Client(server.target.url)
        client.answer(name)
        return client.resident()[f"{name}:latest"]


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--cycles", default=200, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="loads and unloads by themselves")
def main(cycles: int, rounds: int) -> None:
    from trillama.models.store import Extras, ModelStore

    machine.warn_if_busy()
    names = ["one", "two"]
    with TemporaryDirectory(prefix="trillama-bench-") as folder:
        store = Path(folder) / "store"
        for seed, name in enumerate(names):
            path = Path(folder) / f"{name}.gguf"
            write_model(path, SHAPE, "Q4_0", seed=seed)
            ModelStore(store).import_gguf(path, name, Extras(link=True))
        setup = Setup(path, 4, CELLS, threads=0)
        size = need(setup, store, names[0])
        with started(one_at_a_time(setup, store, size * 3 // 4)) as server:
            pid, client = server.pid or 0, Client(server.target.url)
            found = alternate(client, pid, names, cycles)
            client.unload(names[(cycles - 1) % 2])
            shares = freed(client, pid, names[0], rounds)
    settled = found[int(cycles * SETTLED) :]
    quarter = max(1, len(settled) // 4)
    early = median([one.memory for one in settled[:quarter]])
    late = median([one.memory for one in settled[-quarter:]])
    print(f"{cycles} loads, each evicting the other; a model takes {size / MIB:.0f} MiB")
    print(f"memory {early / MIB:.1f} -> {late / MIB:.1f} MiB, {100 * (late / early - 1):+.2f} %")
    for what in ("files", "threads"):
        counts = [getattr(one, what) for one in settled]
        print(f"{what} {min(counts)}..{max(counts)}, at the end {counts[-1]}")
    print(f"an unload gives back {100 * median(shares):.1f} % of what its load took")
    RESULTS.mkdir(exist_ok=True)
    result = {"facts": machine.describe(), "cycles": cycles, "early": early, "late": late}
    result |= {"freed": shares, "memory": [one.memory for one in found]}
    (RESULTS / "swap.json").write_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
