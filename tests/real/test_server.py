"""The server as users start it: a process, the bundled model, a socket."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.support.served import Process, said
from trillama.residency.ledger import FILE

START_CPU = 1.0
"""Seconds of processor time until the first answer; on an idle machine the wall clock agrees."""
BESIDE_IMPORTS = 2.0
"""On a slower machine: times what it takes there to import the frameworks alone."""
ATTEMPTS = 5
IDLE_MEMORY = 120 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Process]:
    """One server for the tests of this file."""
    running = Process(tmp_path_factory.mktemp("server") / "models")
    yield running
    running.close()


def imports_cpu() -> float:
    """Seconds of processor time to import what the server is built on."""
    before = os.times()
    command = [sys.executable, "-c", "import hypercorn, numpy, quart, structlog, trio"]
    subprocess.run(command, check=True)
    after = os.times()
    children = after.children_user + after.children_system
    return children - before.children_user - before.children_system


def start_cpu(folder: Path) -> float:
    """Seconds of processor time until a fresh server gives its first answer."""
    folder.mkdir()
    running = Process(folder / "models")
    running.close()
    return running.cpu


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_it_starts_lean(server: Process, tmp_path: Path) -> None:
    """The first answer costs at most a second of work and 120 MB; llama.cpp is not loaded yet."""
    assert server.memory < IDLE_MEMORY
    # A core that is shared with a neighbour takes twice the time for the same work, now and then.
    for attempt in range(ATTEMPTS):
        cpu = start_cpu(tmp_path / str(attempt)) if attempt else server.cpu
        if cpu < max(START_CPU, BESIDE_IMPORTS * imports_cpu()):
            return
    pytest.fail(f"{ATTEMPTS} starts took too long, the last one {cpu:.2f} s")


def test_the_bundled_model_is_there_and_answers(server: Process) -> None:
    """Without a download: listed, chatting, reasoning apart from the answer."""
    (listed,) = server.ask("GET", "/api/tags")
    thinking, content = said(lines := server.chat("Hello! Who are you?"))

    assert [entry["name"] for entry in listed["models"]] == ["tiny:latest"]
    assert content
    assert "<think>" not in thinking + content
    assert (lines[-1]["done_reason"], lines[-1]["eval_count"] > 3) == ("stop", True)


def test_what_a_model_took_is_written_down(server: Process) -> None:
    """For the next start, beside the blobs."""
    server.chat("Hello!", num_predict=1)
    known = json.loads((server.store / FILE).read_bytes())
    assert len(known) == 1


def test_streams_at_once_say_what_they_say_alone(server: Process) -> None:
    """Greedy answers computed together are those computed one by one.

    Codes to repeat, because there the model is sure of every token: llama.cpp multiplies a batch
    of four rows by other kernels than one of three, which moves quantised logits by up to 0.1.
    """

    def answer(text: str) -> tuple[str, str]:
        return said(server.chat(text, think=False, num_predict=16))

    texts = [f"Repeat: {code}" for code in ("QX-7731", "AB-1204", "ZK-9056", "MN-3388", "HJ-6142")]
    alone = [answer(text) for text in texts]
    with ThreadPoolExecutor(len(texts)) as pool:
        together = list(pool.map(answer, texts * 3))

    assert together == alone * 3
    assert "QX-7731" in alone[0][1]


def test_a_question_asked_again_has_the_same_answer(server: Process) -> None:
    """A prompt out of the cache counts and answers like a prompt that was computed."""
    first = server.chat("Tell me about the sea, please.", num_predict=16)
    again = server.chat("Tell me about the sea, please.", num_predict=16)

    assert said(first) == said(again)
    assert first[-1]["prompt_eval_count"] == again[-1]["prompt_eval_count"]


def test_sigterm_lets_an_answer_finish(tmp_path: Path, tiny_model_path: Path) -> None:
    """A stream that runs when the signal comes has its end record, and the process exits 0."""
    running = Process(tmp_path / "models")
    try:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        body = {"model": "tiny", "prompt": "a", "raw": True, "options": {"num_predict": 200}}
        connection.request("POST", "/api/generate", json.dumps(body))
        response = connection.getresponse()
        first = response.readline()
        running.process.send_signal(signal.SIGTERM)
        *_, last = response.read().splitlines()
        connection.close()

        assert json.loads(first)["done"] is False
        assert json.loads(last)["done"] is True
        assert running.process.wait(30) == 0
    finally:
        running.close()


def request(server: Process, method: str, path: str, body: str = "") -> http.client.HTTPResponse:
    """An answer of which nothing was read; its connection ends with it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request(method, path, body, {"Connection": "close"})
    return connection.getresponse()


class Load:
    """Streams that repeat one letter: random tokens would end an answer after some hundreds."""

    OPTIONS: ClassVar = {"num_predict": 100_000, "temperature": 0}
    BODY = json.dumps({"model": "tiny", "prompt": "a", "raw": True, "options": OPTIONS})

    def __init__(self, server: Process, streams: int) -> None:
        self.replies = [request(server, "POST", "/api/generate", self.BODY) for _ in range(streams)]
        for reply in self.replies:
            assert json.loads(reply.readline())["done"] is False

    def ends(self) -> list[Any]:
        """The last record of every stream."""
        bodies = [reply.read() for reply in self.replies]
        return [json.loads(body.splitlines()[-1]) for body in bodies]


def test_sigterm_under_load_refuses_and_ends_with_a_record(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    """New requests get 503 at once; streams that outlive the drain time end with an error line."""
    running = Process(tmp_path / "models", TRILLAMA_DRAIN_TIMEOUT="1s")
    try:
        load = Load(running, 6)
        waiting = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        waiting.connect()
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        waiting.request("POST", "/api/generate", Load.BODY)
        refused = waiting.getresponse()

        assert (refused.status, list(json.loads(refused.read()))) == (503, ["error"])
        waiting.close()
        assert all("error" in end or end["done"] for end in load.ends())
        assert running.process.wait(10) == 0
    finally:
        running.close()


def test_a_second_sigterm_ends_at_once(tmp_path: Path, tiny_model_path: Path) -> None:
    """Nobody waits for the drain time then; streams still end with a record, and the exit is 0."""
    running = Process(tmp_path / "models", TRILLAMA_DRAIN_TIMEOUT="1h")
    try:
        load = Load(running, 6)
        for _ in range(2):
            running.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        began = time.monotonic()

        assert all("error" in end or end["done"] for end in load.ends())
        assert running.process.wait(10) == 0
        assert time.monotonic() - began < 5
    finally:
        running.close()
