"""The life of the server: start, drain, signals, logs."""

from __future__ import annotations

import io
import json
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from tests.support.house import House, Shelf, ask, connect, houses, model
from trillama import app as app_module
from trillama.app import PortInUse, create_app, listen, run_server
from trillama.base.address import Address
from trillama.base.durations import MILLISECOND, SECOND
from trillama.base.errors import TrillamaError
from trillama.base.logs import configure_logs
from trillama.base.settings import Settings
from trillama.engine.fake import FakeBackend, babble
from trillama.models.store import ModelStore

build = pytest.fixture(houses)

ENDLESS = {"model": "m", "prompt": "x"}


# -- binding --------------------------------------------------------------------------------------


def test_a_port_in_use_says_what_to_do() -> None:
    """The error names the address, who may hold it, and how to choose another."""
    with listen(Address("http", "127.0.0.1", 0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse) as refused:
            listen(Address("http", "127.0.0.1", port))

    for word in (f"127.0.0.1:{port}", "Ollama", "OLLAMA_HOST="):
        assert word in refused.value.message


def test_of_two_servers_that_start_at_once_one_is_told() -> None:
    """From the first moment on: not only once the other answers."""
    with listen(Address("http", "127.0.0.1", 0)) as first, pytest.raises(PortInUse):
        listen(Address("http", "127.0.0.1", first.getsockname()[1]))


@pytest.mark.parametrize("host", ["256.1.1.1", "203.0.113.77"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    """A host that cannot be bound is named."""
    with pytest.raises(TrillamaError, match=host):
        listen(Address("http", host, 0))


@pytest.mark.parametrize(
    ("host", "family"),
    [("127.0.0.1", socket.AF_INET), ("localhost", None), ("::1", socket.AF_INET6)],
)
def test_addresses_of_both_families_are_bound(host: str, family: int | None) -> None:
    """IPv4, IPv6 and names."""
    if family == socket.AF_INET6 and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        sock = listen(Address("http", host, 0))
    except TrillamaError:
        if family == socket.AF_INET6:
            pytest.skip("no IPv6 loopback here")
        raise
    with sock:
        assert sock.getsockname()[1] > 0
        assert family in (None, sock.family)


# -- draining -------------------------------------------------------------------------------------


async def begin(house: House, body: dict[str, Any] = ENDLESS) -> Any:
    wire = await connect(house)
    await wire.send("POST", "/api/generate", json.dumps(body).encode())
    await wire.until(b'"done":false')
    return wire


async def run_until_stopped(house: House, nursery: trio.Nursery) -> trio.Event:
    """Start the server of ``house``; the event is set once it has returned."""
    over = trio.Event()

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        sock = listen(Address("http", "127.0.0.1", 0))
        house.port = sock.getsockname()[1]
        await run_server(house.server, sock, house.stop, task_status=task_status)
        over.set()

    await nursery.start(run)
    return over


async def test_a_drain_lets_answers_finish_and_refuses_new_ones(
    nursery: trio.Nursery,
    build: Callable[..., Any],
) -> None:
    """503, Retry-After and Connection: close for newcomers; the old answer ends as it should."""
    house = await build(script=babble, listening=False, drain_timeout=30 * SECOND)
    over = await run_until_stopped(house, nursery)
    pause = threading.Event()
    free = iter(range(20))  # steps; the answer needs more, so it cannot be over before the drain
    house.hooks.on_decode = lambda batch: next(free, None) is None and pause.wait(10) and None
    wire = await begin(house, ENDLESS | {"options": {"num_predict": 100}})
    house.stop.set()
    await house.until(lambda: house.server.app.draining)
    refused = await ask(house, "GET", "/api/version")
    pause.set()
    with trio.fail_after(10):
        rest = await wire.until(b"\r\n0\r\n\r\n")
        await over.wait()

    assert refused.status == 503
    assert refused.headers["connection"] == "close"
    assert int(refused.headers["retry-after"]) > 0
    assert b'"done":true,"done_reason":"length"' in rest
    assert house.backend.open_models == 0


async def test_a_drain_has_an_end(nursery: trio.Nursery, build: Callable[..., Any]) -> None:
    """What still runs then gets a last line that says so, and the server returns."""
    house = await build(script=babble, listening=False, drain_timeout=50 * MILLISECOND)
    over = await run_until_stopped(house, nursery)
    wire = await begin(house)
    house.stop.set()
    with trio.fail_after(10):
        rest = await wire.until(b"\r\n0\r\n\r\n")
        await over.wait()

    assert b'{"error":"the server is shutting down"}' in rest
    assert b'"done":true' not in rest
    assert house.backend.open_models == 0


async def test_a_client_that_reads_nothing_cannot_hold_the_end_up(
    nursery: trio.Nursery,
    build: Callable[..., Any],
) -> None:
    """A stuck write ends with the drain, not with the client's patience."""
    settings = {"drain_timeout": 50 * MILLISECOND, "stall_timeout": 0, "context_length": 500_000}
    house = await build(script=babble, listening=False, **settings)
    over = await run_until_stopped(house, nursery)
    await begin(house)
    await house.until(lambda: any(r.paused for r in house.server.pool.statistics().runners))
    house.stop.set()
    with trio.fail_after(10):
        await over.wait()


async def test_an_idle_server_ends_at_once(
    nursery: trio.Nursery, build: Callable[..., Any]
) -> None:
    """Open connections without a request are no reason to wait."""
    house = await build(listening=False)
    over = await run_until_stopped(house, nursery)
    idle = await connect(house)
    await idle.send("GET", "/")
    await idle.reply()
    house.stop.set()
    with trio.fail_after(1):
        await over.wait()


async def test_signals_stop_the_server(build: Callable[..., Any]) -> None:
    """The first asks for a drain, the second ends it."""
    house = await build(script=babble, listening=False, drain_timeout=600 * SECOND)
    sock = listen(Address("http", "127.0.0.1", 0))
    house.port = sock.getsockname()[1]
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app_module._main, house.server, sock)
            await begin(house)
            signal.raise_signal(signal.SIGTERM)
            await house.until(lambda: house.server.app.draining)
            signal.raise_signal(signal.SIGINT)

    assert house.backend.open_models == 0


async def test_a_broken_scheduler_ends_the_server(
    nursery: trio.Nursery,
    build: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the part that everything needs the process goes, rather than refuse for ever."""
    house = await build(listening=False)
    broken = trio.Event()

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await broken.wait()
        raise RuntimeError("a bug")

    monkeypatch.setattr(house.scheduler, "run", run)
    over = await run_until_stopped(house, nursery)
    broken.set()
    with trio.fail_after(5):
        await over.wait()

    assert house.server.broken.is_set()


# -- starting -------------------------------------------------------------------------------------


async def test_the_bundled_model_delays_no_answer(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers while it is being installed; only questions about models wait."""
    installed = threading.Event()
    monkeypatch.setattr(app_module, "ensure_bundled", lambda store: installed.wait(10))
    house = House(babble, Shelf(), {})
    house.server = app_module.Server(house.settings, house.backend, ModelStore(tmp_path))
    await run_until_stopped(house, nursery)
    first = await ask(house, "GET", "/")
    answers: list[Any] = []

    async def tags() -> None:
        answers.append(await ask(house, "GET", "/api/tags"))

    async with trio.open_nursery() as waiting:
        waiting.start_soon(tags)
        assert (await ask(house, "GET", "/api/version")).status == 200
        assert answers == []
        installed.set()
    house.stop.set()

    assert first.status == 200
    assert answers[0].json() == {"models": []}


async def test_a_damaged_bundled_model_is_no_reason_to_fail(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong with it, the server works with the other models."""
    monkeypatch.setattr(app_module, "ensure_bundled", lambda store: 1 // 0)
    house = House(babble, Shelf(), {})
    house.server = app_module.Server(house.settings, house.backend, ModelStore(tmp_path))
    await run_until_stopped(house, nursery)
    reply = await ask(house, "GET", "/api/tags")
    house.stop.set()

    assert reply.json() == {"models": []}
    assert not house.server.broken.is_set()


async def test_the_application_runs_in_any_asgi_server() -> None:
    """``create_app`` and a lifespan are all that is needed."""
    app = create_app(Settings(access_log=False), FakeBackend(), Shelf(model("m")))
    async with app.test_app() as running:
        client = running.test_client()
        said = {"model": "m", "prompt": 'Repeat: "abc"', "stream": False}
        reply = await client.post("/api/generate", json=said)
        text = await reply.get_data()

    assert json.loads(text)["response"] == "abc"


# -- logs -----------------------------------------------------------------------------------------


@pytest.fixture
def logged() -> Any:
    """What is logged, as JSON lines in memory."""
    stream = io.StringIO()
    configure_logs("json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()


async def test_a_request_has_one_access_line(logged: Any, build: Callable[..., Any]) -> None:
    """Method, path, status, time and the id that the answer carries; nothing for a token."""
    house = await build(script=babble, access_log=True)
    body = ENDLESS | {"options": {"num_predict": 50, "num_ctx": 100}}
    replies = [
        await ask(house, "POST", "/api/generate", body),
        await ask(house, "GET", "/nope"),
        await ask(house, "GET", "/", None, "Origin: http://evil.example"),
    ]
    await house.until(lambda: sum(line["event"] == "request" for line in logged()) == 3)
    lines = [line for line in logged() if line["event"] == "request"]

    assert [(line["path"], line["status"]) for line in lines] == [
        ("/api/generate", 200), ("/nope", 404), ("/", 403),
    ]  # fmt: skip
    assert [line["request_id"] for line in lines[:2]] == [
        reply.headers["x-request-id"] for reply in replies[:2]
    ]
    assert all(line["ms"] > 0 and line["level"] == "info" for line in lines)
    assert len(logged()) < 12


async def test_a_model_that_goes_is_no_part_of_the_request_it_came_for(
    logged: Any, build: Callable[..., Any]
) -> None:
    """An id stands on lines of its request, not on what happens to a model hours later."""
    house = await build(script=babble)
    body = ENDLESS | {"options": {"num_predict": 5}, "stream": False}
    await ask(house, "POST", "/api/generate", body)
    await ask(house, "POST", "/api/generate", {"model": body["model"], "keep_alive": 0})
    await house.until(lambda: any(line.get("now") == "stopped" for line in logged()))

    assert [line for line in logged() if line["event"] == "runner" and "request_id" in line] == []


async def test_a_hang_up_is_logged_as_such(logged: Any, build: Callable[..., Any]) -> None:
    """A client that left before the answer shows as 499."""
    house = await build(access_log=True)
    opened = threading.Event()
    house.hooks.on_load = lambda path, params: opened.wait(10) and None
    wire = await connect(house)
    await wire.send("POST", "/api/generate", json.dumps(ENDLESS).encode())
    await house.until(lambda: house.scheduler.statistics().waiting == 1)
    wire.hang_up()
    await house.until(lambda: any(line["event"] == "request" for line in logged()))
    opened.set()

    assert [line["status"] for line in logged() if line["event"] == "request"] == [499]


def test_logs_are_json_unless_someone_reads_along() -> None:
    """A file or a pipe gets JSON, a terminal prose, and debug lines only when asked for."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    pipe, terminal = io.StringIO(), Terminal()
    for stream in (pipe, terminal):
        configure_logs("auto", stream=stream)
        structlog.get_logger().info("started", path="/x")
        structlog.get_logger().debug("hidden")
    structlog.reset_defaults()

    assert json.loads(pipe.getvalue())["event"] == "started"
    assert "started" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert "hidden" not in pipe.getvalue() + terminal.getvalue()


def test_a_traceback_is_one_json_line() -> None:
    """What a bug leaves in the log can be read by a machine too."""
    stream = io.StringIO()
    configure_logs("json", stream=stream)
    try:
        1 // 0  # noqa: B018
    except ZeroDivisionError as error:
        structlog.get_logger().error("unexpected error", exc_info=error)
    structlog.reset_defaults()
    (line,) = stream.getvalue().splitlines()

    assert json.loads(line)["exception"][0]["exc_type"] == "ZeroDivisionError"
