"""Everything at once for a while: models that evict each other, and clients of every kind.

One model speaks; three are random, and remember by plain attention, by sliding windows and by a
recurrent state.

Readers, slow readers, clients that leave in every phase, vectors, schemas, bad requests, unloads.
Each reader's answer must hold its own code and nobody else's; bad requests must get their status;
and when all have gone the server holds what it held before: every model leaves when it is told to,
so no lease, no sequence and no request is left; threads and descriptors are those of the start. The
ten-minute form, ``pytest -m soak -s tests/real/test_storm.py``, also wants the same memory after
its last third as after the one before; ``TRILLAMA_STORM_SECONDS`` makes it longer or shorter.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trio

from tests.real.test_server_isolation import canary
from tests.support.house import Reply, Wire
from tests.support.served import Process
from tests.support.tiny_random import TinyShape, make_tiny
from trillama.models.store import Extras, ModelStore

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")

CLIENTS = 24
SHORT, LONG = 15.0, 600.0
PARTS = 3
FLAT, SETTLING = 1.02, 1.2
"""Memory at rest after the last part, as a part of that before it: of minutes, and of seconds in
which caches still fill."""
BABBLERS = {"babbler": "llama", "glider": "cohere2", "dreamer": "mamba"}
"""Random models by the architectures that decide how they remember."""
SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 0, "maximum": 99},
        "ok": {"type": "boolean"},
    },
    "required": ["n", "ok"],
    "additionalProperties": False,
}
BAD: tuple[tuple[str, Any, int], ...] = (
    ("/api/chat", {"model": "nobody", "messages": []}, 404),
    ("/api/generate", {"model": "tiny", "prompt": 7}, 400),
    ("/api/generate", {"model": "tiny", "prompt": "x", "options": {"top_p": "much"}}, 400),
    ("/api/chat", {"model": "tiny", "messages": [{"role": "user", "content": "x"}],
                   "format": {"type": "nonsense"}}, 400),
    ("/api/generate", {"model": "tiny", "prompt": "word " * 40_000, "truncate": False}, 400),
)  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    """A server with four models and memory for one."""
    store = ModelStore(tmp_path / "models")
    for seed, (name, architecture) in enumerate(BABBLERS.items()):
        shape = TinyShape(architecture=architecture, layers=2 if seed else 3, seed=seed)
        store.import_gguf(make_tiny(tmp_path / f"{name}.gguf", shape), name, Extras())
    running = Process(
        tmp_path / "models",
        TRILLAMA_ACCESS_LOG="false",
        TRILLAMA_MAX_LOADED_MODELS="1",
        TRILLAMA_STALL_TIMEOUT="5s",
    )
    yield running
    running.close()


class Storm:
    """Clients that do at random what clients do.

    Attributes:
        done: how often what was done.
        wrong: what must not have happened.
        codes: the numbers of all canaries that were ever given out.
    """

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.codes: set[str] = set()
        self.told: list[tuple[str, str]] = []
        self._kinds = {
            self._read: 10, self._leave: 5, self._read_slowly: 1, self._embed: 2,
            self._keep_schema: 2, self._babble: 2, self._ask_badly: 2, self._unload: 1,
        }  # fmt: skip

    async def rage(self, seconds: float) -> None:
        """All clients until the time is over; each ends what it has begun."""
        end = trio.current_time() + seconds
        with trio.fail_after(seconds + 120):
            async with trio.open_nursery() as nursery:
                for _ in range(CLIENTS):
                    nursery.start_soon(self._client, end)

    async def _client(self, end: float) -> None:
        kinds, weights = list(self._kinds), list(self._kinds.values())
        while trio.current_time() < end:
            act = self.random.choices(kinds, weights)[0]
            wire = Wire(await trio.open_tcp_stream("127.0.0.1", self.port))
            async with wire.stream:
                await act(wire)
            self.done[act.__name__.strip("_")] += 1

    async def _ask(self, wire: Wire, path: str, body: dict[str, Any]) -> Reply:
        await wire.send("POST", path, json.dumps(body).encode())
        return await wire.reply()

    def _babbler(self) -> str:
        return self.random.choice(list(BABBLERS))

    def _question(self) -> tuple[str, dict[str, Any]]:
        code = canary(self.random)
        self.codes.add(code.split("-")[1])
        messages = [{"role": "user", "content": f"Repeat: {code}"}]
        options = {"num_predict": self.random.choice([12, 12, 60]), "temperature": 0}
        think = self.random.random() < 0.2
        return code, {"model": "tiny", "messages": messages, "think": think, "options": options}

    def _expect(self, reply: Reply, what: str) -> bool:
        good = reply.status == 200 and reply.lines()[-1].get("done", True)
        if not good:
            self.wrong.append(f"{what}: {reply.status} {reply.body[-300:]!r}")
        return good

    async def _read(self, wire: Wire) -> None:
        code, body = self._question()
        reply = await self._ask(wire, "/api/chat", body)
        if self._expect(reply, code):
            self.told.append((code, "".join(x["message"]["content"] for x in reply.lines())))

    async def _leave(self, wire: Wire) -> None:
        _, body = self._question()
        await wire.send("POST", "/api/chat", json.dumps(body).encode())
        await wire.until(self.random.choice((b"", b"\r\n\r\n", b'"done":false')))
        wire.hang_up()

    async def _read_slowly(self, wire: Wire) -> None:
        """Long enough that its job is paused, or ended by the server."""
        options = {"num_predict": 400}
        body = {"model": self._babbler(), "prompt": "x", "raw": True, "options": options}
        await wire.send("POST", "/api/generate", json.dumps(body).encode())
        await wire.until(b'"done":')
        await trio.sleep(self.random.random() * 2)
        wire.hang_up()

    async def _embed(self, wire: Wire) -> None:
        texts = ["one", "two words", "and three words"][: self.random.randint(1, 3)]
        reply = await self._ask(wire, "/api/embed", {"model": "tiny", "input": texts})
        if self._expect(reply, "embed") and len(reply.json()["embeddings"]) != len(texts):
            self.wrong.append("vectors are missing")

    async def _keep_schema(self, wire: Wire) -> None:
        code, body = self._question()
        body |= {"format": SCHEMA, "stream": False, "think": False}
        body["options"] = {"num_predict": 200}
        reply = await self._ask(wire, "/api/chat", body)
        if self._expect(reply, code) and reply.json()["done_reason"] == "stop":
            jsonschema.validate(json.loads(reply.json()["message"]["content"]), SCHEMA)

    async def _babble(self, wire: Wire) -> None:
        options = {"num_predict": self.random.randint(1, 40), "temperature": 1.5}
        length = int(2 ** self.random.uniform(0, 10))
        body = {"model": self._babbler(), "prompt": "x" * length, "raw": True}
        self._expect(await self._ask(wire, "/api/generate", {**body, "options": options}), "babble")

    async def _ask_badly(self, wire: Wire) -> None:
        path, body, status = self.random.choice(BAD)
        reply = await self._ask(wire, path, body)
        if reply.status != status or "error" not in reply.json():
            self.wrong.append(f"{path} {str(body)[:80]}: {reply.status} {reply.body[:200]!r}")

    async def _unload(self, wire: Wire) -> None:
        name = self.random.choice(["tiny", *BABBLERS])
        await self._ask(wire, "/api/generate", {"model": name, "keep_alive": 0})


async def at_rest(server: Process) -> tuple[list[str], int, int]:
    """Threads, descriptors and bytes of memory once all models are gone."""
    for name in ("tiny", *BABBLERS):
        server.ask("POST", "/api/generate", model=name, keep_alive=0)
    with trio.fail_after(30):
        while server.loaded():  # noqa: ASYNC110 - another process tells nobody
            await trio.sleep(0.1)
    await trio.sleep(1)
    workers = "Trio thread"  # kept for ten seconds in case of more work
    threads = [name for name in server.threads() if not name.startswith(workers)]
    return threads, server.descriptors(), server._memory()


@pytest.mark.parametrize(
    "seconds", [SHORT, pytest.param(LONG, marks=pytest.mark.soak)], ids=["short", "long"]
)
async def test_a_storm_passes(server: Process, seconds: float) -> None:
    """No answer holds another's code, nobody fails who did nothing wrong, and nothing stays."""
    await Storm(server.port, 0).rage(seconds / 8)  # fills pools and caches
    threads, descriptors, _ = await at_rest(server)
    storm = Storm(server.port, 1)
    if seconds > SHORT:
        seconds = float(os.environ.get("TRILLAMA_STORM_SECONDS", seconds))
    memory = []
    for _ in range(PARTS):
        await storm.rage(seconds / PARTS)
        threads_after, descriptors_after, now = await at_rest(server)
        memory.append(now)
        assert threads_after == threads
        assert descriptors_after <= descriptors

    print(f"\n{dict(storm.done)}; MiB at rest {[now >> 20 for now in memory]}")  # noqa: T201
    assert storm.wrong == []
    for code, text in storm.told:
        number = code.split("-")[1]
        assert not [one for one in storm.codes if one in text and one != number], (code, text)
    assert sum(code in text for code, text in storm.told) > 0.7 * len(storm.told) > 0
    assert all(storm.done[kind] for kind in ("read", "leave", "embed", "keep_schema", "babble"))
    assert memory[-1] <= memory[-2] * (FLAT if seconds >= LONG else SETTLING)
