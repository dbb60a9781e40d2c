"""Status lines of long operations, as answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from quart import Response
from structlog.testing import capture_logs

from tests.support.house import ask, connect
from trillama.api.progress import Lines, LinesBody, Operation, progress_response
from trillama.base.errors import BadRequest, StoreError
from trillama.base.progress import Progress, Tell


def serve(house: Any, operation: Operation, *, stream: bool = True) -> None:
    async def route() -> Response:
        return await progress_response(operation, stream=stream)

    house.server.app.add_url_rule("/work", "work", route, methods=["POST"])


async def built(build: Callable[..., Any], operation: Operation, *, stream: bool = True) -> Any:
    from trillama.app import listen, run_server
    from trillama.base.address import Address

    house = await build(listening=False)
    serve(house, operation, stream=stream)
    sock = listen(Address("http", "127.0.0.1", 0))
    house.port = sock.getsockname()[1]
    return house, lambda nursery: nursery.start(run_server, house.server, sock, house.stop)


async def work(tell: Tell) -> None:
    tell(Progress("pulling manifest"))
    await trio.lowlevel.checkpoint()
    tell(Progress("pulling abc", "sha256:abc", 7, 0))
    tell(Progress("pulling abc", "sha256:abc", 7, 7))
    tell(Progress("success"))


async def test_lines_are_ollamas(build: Callable[..., Any], nursery: trio.Nursery) -> None:
    """Compact JSON, empty fields left out, one line each, and of a digest only the latest."""
    house, start = await built(build, work)
    await start(nursery)
    reply = await ask(house, "POST", "/work")

    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.body == (
        b'{"status":"pulling manifest"}\n'
        b'{"status":"pulling abc","digest":"sha256:abc","total":7,"completed":7}\n'
        b'{"status":"success"}\n'
    )


async def test_without_stream_the_last_line_is_all(
    build: Callable[..., Any], nursery: trio.Nursery
) -> None:
    """One object, and the content type Ollama gives it."""
    house, start = await built(build, work, stream=False)
    await start(nursery)
    reply = await ask(house, "POST", "/work")

    assert (reply.status, reply.body) == (200, b'{"status":"success"}')
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("stream", [True, False])
async def test_early_trouble_has_a_status(
    build: Callable[..., Any], nursery: trio.Nursery, stream: bool
) -> None:
    """Before the first line an error is an HTTP error."""

    async def fail(tell: Tell) -> None:
        raise BadRequest("no")

    house, start = await built(build, fail, stream=stream)
    await start(nursery)
    reply = await ask(house, "POST", "/work")

    assert (reply.status, reply.json()) == (400, {"error": "no"})


async def test_late_trouble_is_the_last_line(
    build: Callable[..., Any], nursery: trio.Nursery
) -> None:
    """After the first line it ends the stream, and a bug keeps its insides to itself."""

    async def fail(tell: Tell) -> None:
        tell(Progress("a"))
        raise RuntimeError("secret")

    house, start = await built(build, fail)
    await start(nursery)
    reply = await ask(house, "POST", "/work")

    first, last = reply.lines()
    assert (reply.status, first) == (200, {"status": "a"})
    assert "secret" not in json.dumps(last)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("early", [True, False])
async def test_trouble_is_logged_once(
    build: Callable[..., Any], nursery: trio.Nursery, stream: bool, early: bool
) -> None:
    """However it reaches the client: who counts such lines counts troubles."""

    async def fail(tell: Tell) -> None:
        if not early:
            tell(Progress("a"))
        raise StoreError("cannot read it")

    house, start = await built(build, fail, stream=stream)
    await start(nursery)
    with capture_logs() as logged:
        await ask(house, "POST", "/work")

    assert [line["error"] for line in logged if line["log_level"] == "warning"] == [
        "cannot read it"
    ]


async def test_a_hang_up_ends_the_operation(
    build: Callable[..., Any], nursery: trio.Nursery
) -> None:
    """Nobody works for a client that has left."""
    ended = trio.Event()

    async def long(tell: Tell) -> None:
        tell(Progress("a"))
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    house, start = await built(build, long)
    await start(nursery)
    wire = await connect(house)
    await wire.send("POST", "/work")
    await wire.until(b'{"status":"a"}')
    wire.hang_up()
    with trio.fail_after(10):
        await ended.wait()


@pytest.mark.parametrize("stream", [True, False])
async def test_the_end_of_the_server_is_told(
    build: Callable[..., Any], nursery: trio.Nursery, stream: bool
) -> None:
    """An operation that is cut short by it ends with an error, not as if it were done."""
    begun = trio.Event()

    async def long(tell: Tell) -> None:
        tell(Progress("a"))
        begun.set()
        await trio.sleep_forever()

    house, start = await built(build, long, stream=stream)
    await start(nursery)
    wire = await connect(house)
    await wire.send("POST", "/work")
    await begun.wait()
    house.stop.set()
    with trio.fail_after(10):
        rest = await wire.until(b'{"error":"the server is shutting down"}')
    assert (b" 503 " in rest) is not stream


async def test_a_client_that_reads_nothing_costs_a_line_a_digest(nursery: trio.Nursery) -> None:
    """Memory is bounded by the number of blobs, whatever the length of the operation."""

    async def long(tell: Tell) -> None:
        for completed in range(1000):
            tell(Progress("pulling", f"sha256:{completed % 3}", 1000, completed))

    lines = Lines(long)
    nursery.start_soon(lines.run)
    await trio.testing.wait_all_tasks_blocked()
    async with LinesBody(lines, []) as body:
        (chunk,) = [chunk async for chunk in body]

    assert [json.loads(line)["completed"] for line in chunk.splitlines()] == [997, 998, 999]
