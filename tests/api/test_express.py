"""The fast way of streams: the same bytes, in the same order, only cheaper."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import h11
import pytest
import trio
import trio.testing
from hypercorn.events import RawData

from tests.support.house import House, Wire, connect, model
from trillama.api import connection
from trillama.api.express import LINE, Express, express
from trillama.api.listener import Line, Patience
from trillama.app import listen, run_server
from trillama.base.address import Address
from trillama.engine.base import Batch
from trillama.engine.fake import babble, count, fixed

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sockets are no files here")

SAID = "<think>one\ntwo</think>naïve <b> & 𝄞 " * 8
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


class Watch:
    """What the fast way was given.

    Attributes:
        written: bytes that were to be written at once.
        refused: writes the socket did not take in full.
    """

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.refused = 0


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Notes every fast write."""
    seen = Watch()
    write_now = Line.write_now

    def note(line: Line, data: bytes) -> bool:
        seen.written.append(data)
        whole = write_now(line, data)
        seen.refused += not whole
        return whole

    monkeypatch.setattr(Line, "write_now", note)
    return seen


@pytest.fixture
def slowly(build: Callable[..., Any]) -> Callable[..., Any]:
    """Builds houses whose engine waits, before each step, until all of trio waits for it.

    So whoever can wait for the next token does: an engine without weights is too fast for that.
    """
    token = trio.lowlevel.current_trio_token()

    async def start(*models: Any, **settings: Any) -> House:
        house: House = await build(*models, **settings)
        house.hooks.on_decode = lambda batch: in_step()
        return house

    def in_step() -> None:
        trio.from_thread.run(trio.testing.wait_all_tasks_blocked, trio_token=token)

    return start


def request(path: str, **fields: Any) -> bytes:
    body = {"model": "m", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}
    body.pop("messages" if path == "/api/generate" else "prompt")
    return json.dumps(body | fields).encode()


async def raw(wire: Wire, path: str, **fields: Any) -> bytes:
    """The bytes of one whole answer."""
    await wire.send("POST", path, request(path, **fields))
    with trio.fail_after(20):
        return await wire.until(b"\r\n0\r\n\r\n")


def events(data: bytes) -> Iterator[Any]:
    """What an HTTP client's parser makes of the answer."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    while True:
        event = client.next_event()
        yield event
        if isinstance(event, h11.EndOfMessage):
            assert client.trailing_data == (b"", False)
            return


def body(data: bytes) -> bytes:
    """The answer without its framing and without what the clock says."""
    found = b"".join(bytes(e.data) for e in events(data) if isinstance(e, h11.Data))
    return re.sub(rb'("created_at":"|_duration":)[^",}]+', rb"\g<1>0", found)


def said(data: bytes) -> str:
    return "".join(json.loads(line).get("response", "") for line in body(data).splitlines())


async def squeezed(house: House, nursery: trio.Nursery) -> Wire:
    """Start ``house`` and connect to it with the smallest buffers the system has."""
    sock = listen(Address("http", "127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    house.port = sock.getsockname()[1]
    await nursery.start(run_server, house.server, sock, house.stop)
    client = trio.socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    await client.connect(("127.0.0.1", house.port))
    wire = Wire(trio.SocketStream(client))
    house.wires.append(wire)
    return wire


# -- whole answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
@pytest.mark.parametrize("stop", [[], ["</b>", "𝄞 <think>one\ntwo</think>naïve <b> & 𝄞 !"]])
async def test_the_bytes_are_the_same(
    slowly: Callable[..., Any],
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    stop: list[str],
) -> None:
    """Reasoning, characters in several tokens, held-back text: nothing differs but the road."""
    thinker = model("m", capabilities=("completion", "thinking"), chat_template=CHATML)
    house = await slowly(thinker, script=fixed(SAID))
    options = {"stop": stop, "num_predict": 400}
    fast = await raw(await connect(house), path, options=options)
    taken = len(watch.written)
    monkeypatch.setattr(connection, "express", lambda scope: None)
    slow = await raw(await connect(house), path, options=options)

    assert body(fast) == body(slow)
    assert taken > 30
    assert len(watch.written) == taken


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_other_dialects_take_the_same_road(
    slowly: Callable[..., Any], watch: Watch, path: str
) -> None:
    """A token's event is written without waking a task in their streams too."""
    house = await slowly(script=count(60))
    fields = {"input": "x"} if path == "/v1/responses" else {"max_tokens": 100}
    await raw(await connect(house), path, stream=True, **fields)

    assert len(watch.written) > 30


async def test_a_connection_goes_on_after_a_fast_stream(
    slowly: Callable[..., Any], watch: Watch
) -> None:
    """Requests sent ahead and afterwards are answered, in order and well framed."""
    house = await slowly(script=count(60))
    wire = await connect(house)
    for _ in range(2):
        await wire.send("POST", "/api/generate", request("/api/generate"))
    await wire.send("GET", "/api/version")
    with trio.fail_after(20):
        first, second, third = [await wire.reply() for _ in range(3)]
    fourth = await raw(wire, "/api/generate")

    for lines in (first.lines(), second.lines()):
        assert "".join(line["response"] for line in lines) == said(fourth)
        assert lines[-1]["eval_count"] == 61
    assert third.json()["version"]
    assert len(watch.written) > 150


async def test_http_1_0_gets_no_chunks(slowly: Callable[..., Any], watch: Watch) -> None:
    """An old client gets a plain body that ends with the connection."""
    wire = await connect(await slowly(script=count(40)))
    data = request("/api/generate")
    head = f"POST /api/generate HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    await wire.stream.send_all(head.encode() + data)
    with trio.fail_after(10):
        answer = b"".join([part async for part in wire.stream])
    *pieces, last = map(json.loads, answer.partition(b"\r\n\r\n")[2].splitlines())

    assert "".join(piece["response"] for piece in pieces) == ",".join(map(str, range(40)))[:40]
    assert last["done"]
    assert watch.written == []


@pytest.mark.parametrize(
    "fields",
    [{"http_version": "1.0"}, {"http_version": "2"}, {"method": "HEAD"}, {"state": {}}],
)
def test_only_chunked_answers_have_a_fast_way(fields: dict[str, Any]) -> None:
    """Where a body is framed in another way, or not at all, the usual way stays the only one."""
    scope = {"http_version": "1.1", "method": "POST", "state": {LINE: object()}}
    assert isinstance(express(scope), Express)
    assert express(scope | fields) is None


# -- clients that are slow, leave, or outlive the engine ------------------------------------------


async def test_a_client_that_reads_nothing_gets_all_of_it_later(
    nursery: trio.Nursery, slowly: Callable[..., Any], watch: Watch
) -> None:
    """Its own job pauses while others go on; then everything comes, in order, nothing twice."""
    house = await slowly(script=count(2500), listening=False, context_length=8192)
    wire = await squeezed(house, nursery)
    runner = house.server.pool.statistics
    await wire.send("POST", "/api/generate", request("/api/generate"))
    await house.until(lambda: bool(runner().runners and runner().runners[0].paused))
    other = await raw(await connect(house), "/api/generate", options={"num_predict": 30})
    assert runner().runners[0].paused == 1
    with trio.fail_after(20):
        answer = await wire.until(b"\r\n0\r\n\r\n")

    assert len(said(other)) == 30
    assert said(answer) == ",".join(map(str, range(2500)))[:2500]
    assert watch.refused > 0


@pytest.mark.parametrize("half", [True, False])
async def test_a_client_that_leaves_in_the_middle(
    slowly: Callable[..., Any], watch: Watch, half: bool
) -> None:
    """The sequence and the lease are given back, whether it resets or ends its sending."""
    house = await slowly(script=babble)
    wire = await connect(house)
    await wire.send("POST", "/api/chat", request("/api/chat"))
    await house.until(lambda: len(watch.written) > 20)
    if half:
        await wire.stream.send_eof()
    else:
        wire.hang_up()
    await house.until(house.at_rest)


async def test_a_client_that_leaves_a_full_socket(
    nursery: trio.Nursery, slowly: Callable[..., Any], watch: Watch
) -> None:
    """Nothing is kept for a client that resets while its chunks wait."""
    house = await slowly(script=babble, listening=False, context_length=8192)
    wire = await squeezed(house, nursery)
    await wire.send("POST", "/api/chat", request("/api/chat"))
    await house.until(lambda: watch.refused > 0)
    wire.hang_up()
    await house.until(house.at_rest)


async def test_trouble_is_the_last_line(slowly: Callable[..., Any], watch: Watch) -> None:
    """An engine that breaks is told of after all that was said."""
    house = await slowly(script=count(2000))
    paced = house.hooks.on_decode

    def break_down(batch: Batch) -> None:
        paced(batch)
        if len(watch.written) > 30:
            raise RuntimeError("no more")

    house.hooks.on_decode = break_down
    answer = await raw(await connect(house), "/api/generate")
    *pieces, last = body(answer).splitlines()
    told = "".join(json.loads(piece)["response"] for piece in pieces)

    assert len(told) > 30
    assert told == ",".join(map(str, range(2000)))[: len(told)]
    assert "error" in json.loads(last)


async def test_the_end_of_a_drain_is_the_last_line(
    slowly: Callable[..., Any], watch: Watch
) -> None:
    """Who is cut off by a drain reads what was said, then why no more comes."""
    house = await slowly(script=count(20_000), drain_timeout=50_000_000)
    wire = await connect(house)
    await wire.send("POST", "/api/generate", request("/api/generate"))
    await house.until(lambda: len(watch.written) > 20)
    house.stop.set()
    with trio.fail_after(10):
        answer = await wire.until(b"\r\n0\r\n\r\n")
    *pieces, last = body(answer).splitlines()
    told = "".join(json.loads(piece)["response"] for piece in pieces)

    assert told == ",".join(map(str, range(20_000)))[: len(told)]
    assert "error" in json.loads(last)


# -- one connection -------------------------------------------------------------------------------


class Protocol:
    """Notes what the connection tells HTTP."""

    def __init__(self) -> None:
        self.told: list[object] = []

    async def handle(self, event: object) -> None:
        self.told.append(event)


async def pair(buffer: int = 1) -> tuple[Line, trio.SocketStream]:
    """A connection and its client's end."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    line = Line(Patience(60), None, None, None, {}, stream)
    line.protocol = Protocol()
    return line, trio.SocketStream(trio.socket.from_stdlib_socket(theirs))


async def test_what_was_not_taken_goes_first() -> None:
    """A write cut short is continued by the next one, whichever way that goes."""
    line, client = await pair()
    sent = 0
    while line.write_now(part := b"%07d," % sent * 100):
        sent += 1
    parts = [b"%07d," % number * 100 for number in range(sent + 1)]
    assert parts[-1] == part
    assert line.unsent
    got = bytearray(os.read(client.socket.fileno(), 5000))
    assert not line.write_now(b"later")
    async with line.stream, client, trio.open_nursery() as nursery:
        nursery.start_soon(line.protocol_send, RawData(b"last"))
        with trio.fail_after(10):
            while not got.endswith(b"last"):
                got += await client.receive_some()
    assert bytes(got) == b"".join(parts) + b"laterlast"
    assert not line.unsent


async def test_nothing_is_written_into_another_write() -> None:
    """While the usual way is writing, the fast one only puts its bytes behind."""
    line, client = await pair()
    much = b"a" * 1_000_000
    async with line.stream, client, trio.open_nursery() as nursery:
        nursery.start_soon(line.protocol_send, RawData(much))
        await trio.testing.wait_all_tasks_blocked()
        got = bytearray(os.read(client.socket.fileno(), 500_000))
        assert not line.write_now(b"b")
        nursery.start_soon(line.flush)
        with trio.fail_after(10):
            while len(got) <= len(much):
                got += await client.receive_some()
    assert bytes(got) == much + b"b"


async def test_a_broken_connection_is_found_by_the_usual_way() -> None:
    """The fast way never raises; flushing closes the connection and tells HTTP."""
    line, client = await pair()
    await client.aclose()
    assert not line.write_now(b"x")
    await line.flush()

    assert len(line.protocol.told) == 1
    assert not line.write_now(b"y")
