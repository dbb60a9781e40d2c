"""How fast is a pull, and what does it weigh? Against `curl | sha256sum` of the same blob.

    python -m bench.pull --gigabytes 2 --rounds 3

A real registry (`docker-registry`, Debian's package) serves one blob from loopback. In each round
curl fetches and hashes it, writing nothing; then a server of ours pulls it into an empty store:
fetched, written, hashed and durable. The server's memory is watched meanwhile.

With `--model`, a stream runs on that model, alone and then beside a pull of the same blob; the
gaps between its tokens tell whether it was left in peace.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import trio

from bench import machine
from bench.load import Load, stream_into
from bench.servers import Running, Setup, open_server
from bench.stall import wait_until
from bench.stats import Reply, gaps, median, percentile
from tests.support import docker_registry
from tests.support.docker_registry import DockerRegistry
from trillama.base.names import Digest, parse_reference
from trillama.base.settings import Settings
from trillama.models.manifest import (
    CONFIG_TYPE,
    MODEL,
    Config,
    Layer,
    Manifest,
    config_bytes,
    manifest_bytes,
)
from trillama.models.registry.pull import PullRequest
from trillama.models.registry.push import Pusher
from trillama.models.registry.transfers import Transfers
from trillama.models.store import ModelStore

MIB = 1 << 20
TOKENS, SETTLED = 1600, 24
"""Of the stream, half of it beside the pull; its first ones are not counted."""


def publish(registry: DockerRegistry, folder: Path, size: int) -> tuple[str, Digest, float]:
    """Push a model with a random blob of `size` bytes; its name, the blob, and the seconds."""
    store = ModelStore(folder / "origin")
    with store.blobs.stage(size) as stage:
        for _ in range(0, size, MIB):
            stage.write(os.urandom(MIB))
        blob = stage.commit().digest
    config = config_bytes(Config(model_format="gguf"))
    head = Layer(CONFIG_TYPE, store.blobs.publish_bytes(config), len(config))
    wanted = parse_reference(f"{registry.host}/bench/pull")
    store.publish(
        wanted.name, manifest_bytes(Manifest(config=head, layers=(Layer(MODEL, blob, size),)))
    )
    pusher = Pusher(store, Transfers(store.blobs, Settings(identity=str(folder / "key"))))
    began = time.monotonic()
    trio.run(pusher.push, PullRequest(wanted, insecure=True), lambda line: None)
    seconds = time.monotonic() - began
    shutil.rmtree(store.root)
    return str(wanted.name), blob, seconds


def curl(registry: DockerRegistry, blob: Digest) -> float:
    """Seconds of `curl | sha256sum`."""
    url = f"http://{registry.host}/v2/bench/pull/blobs/{blob}"
    began = time.monotonic()
    done = subprocess.run(
        f"curl -sf {url} | sha256sum", shell=True, capture_output=True, check=True, text=True
    )
    assert done.stdout.split()[0] == blob.hex
    return time.monotonic() - began


class Weight:
    """The most memory of its own a process has while it is watched, in bytes."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/status")
        self._over = threading.Event()
        self.most = self.now()
        self._thread = threading.Thread(target=self._watch)

    def now(self) -> int:
        """Resident bytes that are no file's."""
        lines = self._path.read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, self.now())

    def __enter__(self) -> Weight:
        self._thread.start()
        return self

    def __exit__(self, *left: object) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def server(models: Path) -> Iterator[tuple[int, int]]:
    """A server on an empty store; its pid and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"TRILLAMA_MODELS": str(models), "TRILLAMA_IDENTITY": str(models.parent / "key")}
    command = [sys.executable, "-m", "trillama", "serve", "--host", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        command, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                ask(port, "GET", "/api/tags")
                break
            except OSError:
                time.sleep(0.05)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()


def ask(port: int, method: str, path: str, **body: Any) -> Any:
    """One JSON call."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request(method, path, json.dumps(body) if body else None)
        text = connection.getresponse().read()
        return json.loads(text) if text else None
    finally:
        connection.close()


def pull(name: str, folder: Path) -> tuple[float, int]:
    """Seconds of a pull into an empty store, and bytes of memory it took above the idle server."""
    with server(folder / "models") as (pid, port):
        body = {"model": name, "insecure": True, "stream": False}
        idle = Weight(pid).now()
        with Weight(pid) as weight:
            began = time.monotonic()
            reply = ask(port, "POST", "/api/pull", **body)
            seconds = time.monotonic() - began
        assert reply == {"status": "success"}, reply
    shutil.rmtree(folder / "models")
    return seconds, weight.most - idle


async def gaps_beside(running: Running, name: str) -> tuple[list[float], list[float], int]:
    """Seconds between tokens of a stream without and with a pull, and the bytes pulled."""
    reply = Reply(sent=0.0, texts=[], ended=0.0)
    port = urlsplit(running.target.url).port or 0
    moved = 0

    def follow() -> None:
        nonlocal moved
        for line in lines(port, "/api/pull", model=name, insecure=True):
            moved = max(moved, line.get("completed", 0))
            if reply.ended:
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream_into, reply, running.target, Load(1, 32, 1, 1).prompt(0), TOKENS)
        await wait_until(lambda: len(reply.texts) >= TOKENS // 2)
        before = len(reply.texts)
        nursery.start_soon(trio.to_thread.run_sync, follow)
    if reply.error:
        raise click.ClickException(reply.error)
    found = gaps(reply)
    return found[SETTLED:before], found[before:], moved


def lines(port: int, path: str, **body: Any) -> Iterator[dict[str, Any]]:
    """The lines of a streamed answer; leaving early hangs up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request("POST", path, json.dumps(body))
        for line in connection.getresponse():
            yield json.loads(line)
    finally:
        connection.close()


def print_beside(model: Path, name: str, rounds: int) -> None:
    """The latency of a stream with and without a pull beside it."""
    setup = Setup(model, parallel=1, context=TOKENS + 256, threads=os.cpu_count() or 1)
    ratios = []
    for _ in range(rounds):
        with open_server("trillama", setup) as running:
            alone, beside, moved = trio.run(gaps_beside, running, name)
        ratios.append(percentile(beside, 99) / percentile(alone, 99))
        print(
            f"a stream alone: gaps p50 {1e3 * median(alone):.1f}, p99 "
            f"{1e3 * percentile(alone, 99):.1f} ms; beside a pull at "
            f"{moved / 1e6 / sum(beside):.0f} MB/s: p50 {1e3 * median(beside):.1f}, p99 "
            f"{1e3 * percentile(beside, 99):.1f} ms, {ratios[-1]:.2f} times"
        )
    print(f"median of p99 beside over p99 alone: {median(ratios):.2f}")


@click.command()
@click.option("--gigabytes", default=2.0, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the files go")
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="Stream beside a pull")
def main(gigabytes: float, rounds: int, folder: Path | None, model: Path | None) -> None:
    """Measure and print."""
    if reason := docker_registry.missing():
        raise click.ClickException(reason)
    machine.warn_if_busy()
    size = int(gigabytes * 1e9) // MIB * MIB
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        registry = DockerRegistry(Path(scratch))
        try:
            name, blob, pushed = publish(registry, Path(scratch), size)
            print(f"{size / 1e9:.2f} GB, pushed at {size / 1e6 / pushed:.0f} MB/s")
            ratios = []
            for number in range(rounds):
                theirs = curl(registry, blob)
                ours, memory = pull(name, Path(scratch))
                ratios.append(theirs / ours)
                print(
                    f"round {number + 1}: curl | sha256sum {size / 1e6 / theirs:.0f} MB/s, "
                    f"pull {size / 1e6 / ours:.0f} MB/s, ratio {theirs / ours:.2f}, "
                    f"memory +{memory / MIB:.0f} MiB"
                )
            print(f"median ratio {median(ratios):.2f}")
            if model:
                print_beside(model, name, rounds)
        finally:
            registry.close()


if __name__ == "__main__":
    main()
