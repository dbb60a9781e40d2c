"""A whole server on the fake engine, in process or behind a loopback socket."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import trio

from trillama.app import Server, listen, run_server
from trillama.base.address import Address
from trillama.base.errors import NotFound
from trillama.base.names import ModelName, ModelReference, parse_name, parse_reference
from trillama.base.settings import Settings
from trillama.engine.base import Backend
from trillama.engine.embedding import Pooling
from trillama.engine.fake import FakeBackend, FakeWeights, Hooks, Script, echo_canary
from trillama.models.capabilities import Details
from trillama.models.installed import InstalledModel
from trillama.models.manifest import Config, Layer, Manifest
from trillama.models.store import ModelStore

CHATML = FakeWeights().chat_template
POOLINGS = {"ranker": Pooling.RANK, "mute": None}
"""Models whose names decide how they embed."""
DETAILS = Details("", "gguf", "llama", ("llama",), "1.2M", "F16", 4096, 64)


def model(name: str, **found: Any) -> InstalledModel:
    """An installed model that can chat, its weights at a path of its own."""
    parsed = parse_name(name)
    fields: dict[str, Any] = {
        "name": parsed,
        "digest": "ab" * 32,
        "size": 1234,
        "modified": 1_700_000_000_500_000_000,
        "details": DETAILS,
        "capabilities": ("completion",),
        "config": Config(),
        "manifest": Manifest(config=Layer("", "", 0), layers=()),
        "weights": Path(f"/weights/{parsed.model}"),
        "chat_template": CHATML,
    }
    return InstalledModel(**(fields | found))


class Shelf:
    """A store without files."""

    def __init__(self, *models: InstalledModel) -> None:
        self.models = {one.name.folded: one for one in models}

    def find(self, wanted: ModelName | ModelReference | str) -> InstalledModel:
        if isinstance(wanted, str):
            wanted = parse_reference(wanted)
        name = wanted.name if isinstance(wanted, ModelReference) else wanted
        found = self.models.get(name.folded)
        pin = wanted.digest if isinstance(wanted, ModelReference) else None
        if found is None or pin not in (None, f"sha256:{found.digest}"):
            raise NotFound(f"model '{wanted.short}' not found")
        return found

    def installed(self) -> list[InstalledModel]:
        return list(self.models.values())

    def licenses(self, model: InstalledModel) -> list[str]:
        return []


class House:
    """A server, what it stands on, and how to reach it.

    Attributes:
        port: where it listens, 0 while it does not.
        wires: connections to it; closed at the end of the test.
    """

    def __init__(
        self,
        script: Script,
        shelf: Shelf | ModelStore,
        settings: dict[str, Any],
        backend: Backend | None = None,
    ) -> None:
        self.hooks = Hooks()
        weights = {
            str(one.weights): FakeWeights(
                script=script,
                chat_template=one.chat_template,
                fill="insert" in one.capabilities,
                pooling=POOLINGS.get(one.name.model, Pooling.LAST),
            )
            for one in (shelf.models.values() if isinstance(shelf, Shelf) else ())
        }
        self.backend = FakeBackend(script, weights=weights, hooks=self.hooks)
        self.shelf = shelf
        quiet = {"access_log": False, "keep_alive": 3600 * 10**9, "context_length": 2048}
        quiet["speculation"] = False  # whether it pays depends on times, which nothing here takes
        self.settings = Settings(**(quiet | settings))
        self.server = Server(self.settings, backend or self.backend, shelf)
        self.stop = trio.Event()
        self.port = 0
        self.wires: list[Wire] = []

    @property
    def scheduler(self) -> Any:
        return self.server.scheduler

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until(self, told: Callable[[], bool]) -> None:
        """Wait for something that another thread brings about."""
        with trio.fail_after(10):
            while not told():  # noqa: ASYNC110 - other threads bring it about
                await trio.sleep(0.0003)

    @property
    def live(self) -> int:
        """Sequences in the engines, by what the step loops say of themselves."""
        batches = [runner.batch for runner in self.server.pool.statistics().runners]
        return sum(
            batch.waiting + batch.prefilling + batch.generating for batch in batches if batch
        )

    def at_rest(self) -> bool:
        """Nobody waits, no lease is held, and no sequence is in an engine."""
        scheduled = self.scheduler.statistics()
        runners = self.server.pool.statistics().runners
        return (scheduled.waiting, scheduled.users) == (0, 0) and all(
            (runner.waiting, runner.running, runner.coming) == (0, 0, 0)
            and runner.tokenizing == runner.embedding == 0
            for runner in runners
        )

    def quiet(self) -> bool:
        """``at_rest``, and the step loops have noticed."""
        return self.at_rest() and not self.live


async def houses(nursery: trio.Nursery) -> AsyncIterator[Callable[..., Any]]:
    """A fixture that starts houses: ``await build(*models, script=..., **settings)``.

    With ``listening=False`` the test starts the server itself; with ``store`` the models are those
    of a folder; with ``backend`` that one loads them. All are stopped at the end.
    """
    built: list[House] = []

    async def start(
        *models: InstalledModel,
        script: Script = echo_canary,
        listening: bool = True,
        store: ModelStore | None = None,
        backend: Backend | None = None,
        **settings: Any,
    ) -> House:
        shelf = store or Shelf(*(models or (model("m"),)))
        house = House(script, shelf, settings, backend)
        built.append(house)
        if listening:
            sock = listen(Address("http", "127.0.0.1", 0))
            house.port = sock.getsockname()[1]
            await nursery.start(run_server, house.server, sock, house.stop)
        return house

    yield start
    for house in built:
        house.stop.set()
        for wire in house.wires:
            wire.stream.socket.close()


class Reply(msgspec.Struct):
    """One HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


class Wire:
    """A raw connection to a house: what goes over the socket, to the byte."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._seen = bytearray()

    async def send(self, method: str, path: str, body: bytes = b"", *headers: str) -> None:
        lines = [f"{method} {path} HTTP/1.1", f"Content-Length: {len(body)}", *headers]
        if not any(line.lower().startswith("host:") for line in headers):
            lines.append("Host: localhost")
        await self.stream.send_all("\r\n".join([*lines, "", ""]).encode() + body)

    async def until(self, mark: bytes) -> bytes:
        """Everything up to and with ``mark``."""
        while mark not in self._seen:
            await self._more()
        end = self._seen.index(mark) + len(mark)
        found, self._seen = bytes(self._seen[:end]), self._seen[end:]
        return found

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise EOFError(bytes(self._seen))
        self._seen += data

    async def reply(self, *, head: bool = False) -> Reply:
        """The next answer."""
        first, *lines = (await self.until(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            known = headers.get(name.lower())
            headers[name.lower()] = f"{known}, {value}" if known else value
        body = b""
        if not head and headers.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        elif not head:
            size = int(headers.get("content-length", "0"))
            while len(self._seen) < size:
                await self._more()
            body, self._seen = bytes(self._seen[:size]), self._seen[size:]
        return Reply(int(first.split()[1]), headers, body)

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.until(b"\r\n"), 16):
            body += (await self.until(b"\r\n"))[:-2] if size == 0 else await self._exactly(size)
        await self.until(b"\r\n")
        return body

    async def _exactly(self, size: int) -> bytes:
        while len(self._seen) < size + 2:
            await self._more()
        found, self._seen = bytes(self._seen[:size]), self._seen[size + 2 :]
        return found

    def hang_up(self) -> None:
        """Close without a word."""
        self.stream.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
        )
        self.stream.socket.close()


async def connect(house: House) -> Wire:
    """A connection of one's own."""
    wire = Wire(await trio.open_tcp_stream("127.0.0.1", house.port))
    house.wires.append(wire)
    return wire


async def ask(
    house: House, method: str, path: str, body: Any = None, *headers: str, patience: float = 20
) -> Reply:
    """One request on a fresh connection; a body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    wire = await connect(house)
    async with wire.stream:
        with trio.fail_after(patience):
            await wire.send(method, path, data, *headers)
            return await wire.reply(head=method == "HEAD")
