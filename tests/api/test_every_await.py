"""A fault at every place where a request waits, one after the other, until none is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from tests.support.dialects import DIALECTS, SAID, WHOLE, terminals
from tests.support.faults import Faults, Kind, Place, connections, striking
from tests.support.house import House, Reply, ask, connect, model
from trillama.api import streaming
from trillama.engine.fake import count

EVENTS = [dialect for dialect, (path, _) in DIALECTS.items() if path.startswith("/v1/")]
"""Dialects that say when nothing is said."""

Request = tuple[str, dict[str, Any]]


async def strike(house: House, request: Request, faults: Faults) -> tuple[Reply | None, bool]:
    """The answer to one request with a fault in it, None where it broke off; and whether the
    connection serves the next request."""
    path, body = request
    reply = None
    wire = await connect(house)
    async with wire.stream:
        with capture_logs(), suppress(EOFError, trio.BrokenResourceError), trio.fail_after(20):
            with striking(faults):
                await wire.send("POST", path, json.dumps(body).encode())
                reply = await wire.reply()
            if faults.kind is not Kind.HANG_UP:
                await wire.send("GET", "/api/version")
                return reply, (await wire.reply()).status == 200
    return reply, False


async def strike_everywhere(house: House, request: Request, kind: Kind) -> set[str]:
    """A fault at every await of a request, until one goes through.

    Returns:
        the functions that were hit.
    """
    await ask(house, "POST", *request)
    struck: set[Place] = set()
    hit: set[str] = set()
    where: tuple[str, ...] = ("",)
    while where:
        faults = Faults(struck, kind)
        reply, goes_on = await strike(house, request, faults)
        await house.until(lambda: house.quiet() and not connections())
        where = faults.where
        hit.update(where)
        if not (kind is Kind.HANG_UP or "SocketStream.send_all" in where):
            assert reply is not None, where
            assert terminals(reply) == 1, (where, reply.body)
            assert goes_on, where
            assert b"made to fail" not in reply.body, "a bug's insides were told"
    assert reply is not None
    assert (reply.status, terminals(reply)) == (200, 1)
    return hit


@pytest.fixture(params=Kind, ids=lambda kind: kind.value)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The kind of fault."""
    found: Kind = request.param
    return found


@pytest.mark.parametrize("stream", [True, False], ids=("stream", "whole"))
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_of_an_answer(
    build: Callable[..., Any], dialect: str, stream: bool, kind: Kind
) -> None:
    """It ends that request once, and leaves no lease, sequence or task; the next goes through."""
    house = await build(script=count(4))
    path, fields = DIALECTS[dialect]
    request = (path, {"model": "m", "stream": stream, **fields})
    hit = await strike_everywhere(house, request, kind)

    assert {"Desk.find", "Scheduler.acquire", "Answer.receive_many"} <= hit
    assert kind is not Kind.ERROR or not stream or "SocketStream.send_all" in hit


@pytest.mark.parametrize("dialect", EVENTS)
async def test_of_a_stream_that_begins_before_its_answer(
    build: Callable[..., Any], dialect: str, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where the headers are out before the answer is: trouble can only be an event."""
    monkeypatch.setattr(streaming, "SILENCE", 0.001)
    house = await build(script=count(4))
    path, fields = DIALECTS[dialect]
    request = (path, {"model": "m", "stream": True, **fields})

    assert "Pending.run" in await strike_everywhere(house, request, kind)


async def test_of_an_answer_from_a_model_that_is_loaded_for_it(
    build: Callable[..., Any], kind: Kind
) -> None:
    """The same where every request has to wait for the model."""
    house = await build(script=count(4))
    request = ("/api/chat", {"model": "m", "messages": SAID, "keep_alive": 0})

    assert "Scheduler.acquire" in await strike_everywhere(house, request, kind)


async def test_of_an_answer_that_keeps_a_rule(build: Callable[..., Any], kind: Kind) -> None:
    """The same where a grammar is compiled."""
    house = await build(script=count(4))
    request = ("/api/chat", {"model": "m", "messages": SAID, "options": {"regex": "[a-z]{3}"}})

    assert "Runner.guide" in await strike_everywhere(house, request, kind)


@pytest.mark.parametrize("path", WHOLE)
async def test_of_a_request_without_a_stream(
    build: Callable[..., Any], path: str, kind: Kind
) -> None:
    """The same where vectors, places or tokens are asked for."""
    house = await build(model("m"), model("ranker"))

    assert "Desk.find" in await strike_everywhere(house, (path, WHOLE[path]), kind)
