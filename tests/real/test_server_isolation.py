"""A thousand requests over 64 connections, each with its own canary: nothing leaks, nothing stays.

Clients hang up at random, and the model is unloaded in between.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from tests.support.house import Wire
from tests.support.served import Process

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")

STREAMS = 64
ENOUGH = 12
"""Tokens: a code has at most ten characters."""


@pytest.fixture
def server(tmp_path: Path, tiny_model_path: Path) -> Iterator[Process]:
    """A server of its own."""
    running = Process(tmp_path / "models", TRILLAMA_ACCESS_LOG="false")
    yield running
    running.close()


def canary(chooser: random.Random) -> str:
    """A code so rare that a slip of the model does not hit another one."""
    return f"{chooser.choice('ABCDEF')}{chooser.choice('KLMNOP')}-{chooser.randrange(10**6):06d}"


@dataclass
class Crowd:
    """Clients of one server.

    Attributes:
        answers: text by request, as far as it was read.
        finished: requests that have an end record.
        refused: whole answers that were no answer.
    """

    port: int
    canaries: list[str]
    chooser: random.Random
    answers: dict[int, str] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Ask everything, over as many connections as there are streams."""
        todo = list(range(len(self.canaries)))
        with trio.fail_after(240):
            async with trio.open_nursery() as nursery:
                for _ in range(STREAMS):
                    nursery.start_soon(self._client, todo)

    async def _client(self, todo: list[int]) -> None:
        while todo:
            await self._one(todo.pop())

    async def _one(self, number: int) -> None:
        """One request; one of six hangs up, one of forty unloads the model first."""
        wire = Wire(await trio.open_tcp_stream("127.0.0.1", self.port))
        async with wire.stream:
            if self.chooser.random() < 1 / 40:
                await wire.send("POST", "/api/generate", b'{"model":"tiny","keep_alive":0}')
                await wire.reply()
            content = f"Repeat: {self.canaries[number]}"
            body = {"model": "tiny", "think": False, "options": {"num_predict": ENOUGH}}
            body |= {"messages": [{"role": "user", "content": content}]}
            body["options"] |= {"temperature": 0}  # type: ignore[operator]
            await wire.send("POST", "/api/chat", json.dumps(body).encode())
            if self.chooser.random() < 1 / 6:
                await self._leave(wire)
            else:
                await self._read(number, wire)

    async def _leave(self, wire: Wire) -> None:
        """At once, after the head, or in the middle of the answer."""
        marks = (b"", b"\r\n\r\n", b'"done":false')
        await wire.until(self.chooser.choice(marks))
        wire.hang_up()

    async def _read(self, number: int, wire: Wire) -> None:
        reply = await wire.reply()
        lines = reply.lines()
        if reply.status != 200 or not lines[-1].get("done"):
            self.refused.append(reply.body.decode())
            return
        self.finished.add(number)
        self.answers[number] = "".join(line["message"]["content"] for line in lines)


async def unloaded(server: Process) -> tuple[list[str], int]:
    """Threads and descriptors once the model is gone and the last connection had time to end."""
    server.ask("POST", "/api/generate", model="tiny", keep_alive=0)
    await trio.sleep(0.5)
    assert server.loaded() == []
    workers = "Trio thread"  # kept for ten seconds in case of more work
    return [name for name in server.threads() if not name.startswith(workers)], server.descriptors()


@pytest.mark.parametrize(
    "requests", [200, pytest.param(1000, marks=pytest.mark.slow)], ids=["200", "1000"]
)
async def test_no_answer_holds_another_answers_canary(server: Process, requests: int) -> None:
    """Hang-ups and unloads change nobody's answer."""
    chooser = random.Random(requests)
    crowd = Crowd(server.port, [canary(chooser) for _ in range(requests)], chooser)
    await crowd.run()

    numbers = [code.split("-")[1] for code in crowd.canaries]
    for asked, text in crowd.answers.items():
        others = [n for n in numbers if n in text and n != numbers[asked]]
        assert not others, f"{crowd.canaries[asked]} was answered {text!r}"
    assert crowd.refused == []
    right = sum(crowd.canaries[asked] in text for asked, text in crowd.answers.items())
    assert len(crowd.finished) > requests / 2
    assert right > 0.8 * len(crowd.finished), "the model repeats what it was told"


async def test_a_crowd_leaves_nothing_behind(server: Process) -> None:
    """No thread, no socket, no file: what the server holds is what it held after one request."""
    await Crowd(server.port, ["AA-000000"], random.Random(0)).run()
    threads, descriptors = await unloaded(server)
    await Crowd(server.port, ["AA-000000"] * 2 * STREAMS, random.Random(1)).run()

    threads_after, _ = await unloaded(server)
    assert threads_after == threads
    with trio.move_on_after(10):  # a busy machine closes the last connections late
        while server.descriptors() > descriptors:  # noqa: ASYNC110
            await trio.sleep(0.1)
    assert server.descriptors() <= descriptors, (
        "the connection of the first count may still be open"
    )
