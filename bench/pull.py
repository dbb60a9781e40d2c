"""How fast is a pull, and what does it weigh? Against `curl | sha256sum` of the same blob.

    python -m bench.pull --gigabytes 2 --rounds 3

A real registry (`docker-registry`, Debian's package) serves one blob from loopback. In each round
curl fetches and hashes it, writing nothing; then a server of ours pulls it into an empty store:
fetched, written, hashed and durable. The server's memory is watched meanwhile.
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

import click
import trio

from bench import machine
from bench.stats import median
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


@click.command()
@click.option("--gigabytes", default=2.0, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where the files go")
def main(gigabytes: float, rounds: int, folder: Path | None) -> None:
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
        finally:
            registry.close()


if __name__ == "__main__":
    main()
