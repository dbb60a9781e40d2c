"""A full server says so at once, a request's time ends it, the queue can be seen."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.house import House, Reply, Wire, ask, connect, model
from trillama.api import doorkeeper
from trillama.base.jobs import Job
from trillama.engine.base import Batch
from trillama.engine.fake import babble, count
from trillama.runner_pool import Runner

SAID = [{"role": "user", "content": "x"}]
DIALECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/api/chat", {"messages": SAID}),
    "openai": ("/v1/chat/completions", {"messages": SAID}),
    "openai responses": ("/v1/responses", {"input": "x"}),
    "anthropic": ("/v1/messages", {"messages": SAID, "max_tokens": 200}),
}
LIMIT = 0.05
"""Seconds in which a refusal must be out."""


class Hold:
    """Holds the engine thread in its second decode, when trio has heard of the first."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self._decodes = 0

    def __call__(self, batch: Batch) -> None:
        self._decodes += 1
        assert self._decodes == 1 or self._opened.wait(20)

    def open(self) -> None:
        self._opened.set()


async def send(house: House, path: str, body: dict[str, Any], *headers: str) -> Wire:
    """A request whose answer is not waited for."""
    wire = await connect(house)
    await wire.send("POST", path, json.dumps({"model": "m"} | body).encode(), *headers)
    return wire


async def full_house(build: Callable[..., Any], places: int, **settings: Any) -> tuple[House, Hold]:
    """A model that is busy, with as many waiting as may."""
    house: House = await build(script=count(20), num_parallel=1, max_queue=places, **settings)
    await ask(house, "POST", "/api/generate", {"model": "m"})
    hold = Hold()
    house.hooks.on_decode = hold
    await send(house, "/api/generate", {"prompt": "running"})
    (runner,) = house.server.pool.residents
    await house.until(lambda: runner.statistics().running == 1)
    for number in range(places):
        await send(house, "/api/generate", {"prompt": f"waiting {number}"})
    await house.until(lambda: runner.statistics().waiting == places)
    return house, hold


def kind_of(reply: Reply) -> str:
    """The type of an error in any dialect."""
    error = reply.json()["error"]
    return "" if isinstance(error, str) else str(error["type"])


async def test_a_full_queue_refuses_at_once_in_every_dialect(build: Callable[..., Any]) -> None:
    """503, Retry-After and the dialect's own type of error, within 50 ms, streamed or not."""
    house, hold = await full_house(build, 4)
    types = {"chat": "", "anthropic": "overloaded_error"}
    for name, (path, body) in DIALECTS.items():
        for streamed in (True, False):
            times = []
            for _ in range(5):
                began = time.perf_counter()
                reply = await ask(house, "POST", path, {"model": "m", "stream": streamed} | body)
                times.append(time.perf_counter() - began)
                assert reply.status == 503
                assert int(reply.headers["retry-after"]) >= 1
                assert kind_of(reply) == types.get(name, "api_error")
            assert min(times) < LIMIT
    hold.open()
    await house.until(house.at_rest)


async def test_a_refusal_needs_no_look_at_the_store(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a name meant a moment ago is enough to say no; to say yes it is looked up."""
    monkeypatch.setattr(doorkeeper, "TRUSTED", 3600.0)
    house, hold = await full_house(build, 4)
    looked: list[object] = []
    find = house.server.desk.models.find
    monkeypatch.setattr(
        house.server.desk.models, "find", lambda wanted: looked.append(wanted) or find(wanted)
    )
    body = {"model": "m", "prompt": "x"}
    assert (await ask(house, "POST", "/api/generate", body)).status == 503
    assert not looked
    hold.open()
    await house.until(house.at_rest)
    assert (await ask(house, "POST", "/api/generate", body)).status == 200
    assert looked


async def test_one_client_with_all_places_does_not_keep_out_others(
    build: Callable[..., Any],
) -> None:
    """Beyond the limit a quarter more is for those who have few waiting."""
    house, hold = await full_house(build, 4)
    (runner,) = house.server.pool.residents
    again = await ask(house, "POST", "/api/generate", {"model": "m", "prompt": "x"})
    assert again.status == 503
    await send(house, "/api/generate", {"prompt": "x"}, "Authorization: Bearer other")
    await house.until(lambda: runner.statistics().waiting == 5)
    third = {"model": "m", "prompt": "x"}
    reply = await ask(house, "POST", "/api/generate", third, "Authorization: Bearer third")
    assert reply.status == 503, "the reserve has an end too"
    hold.open()
    await house.until(house.at_rest)


async def test_prompt_tokens_that_wait_are_limited(build: Callable[..., Any]) -> None:
    """Long prompts fill the queue sooner than short ones; what is admitted does not count."""
    house, hold = await full_house(build, 1, max_queue_tokens=400)
    refused = await ask(house, "POST", "/api/generate", {"model": "m", "prompt": "x" * 600})
    assert refused.status == 503
    hold.open()
    await house.until(house.at_rest)
    alone = await ask(house, "POST", "/api/generate", {"model": "m", "prompt": "x" * 600})
    assert alone.status == 200, "a single one is never too long for the queue"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_time_that_is_over_before_the_answer_is_a_504(
    build: Callable[..., Any], dialect: str
) -> None:
    """A request that waits too long ends with its status, and leaves nothing behind."""
    house, hold = await full_house(build, 4)
    (runner,) = house.server.pool.residents
    path, body = DIALECTS[dialect]
    asked = {"model": "m", "stream": True} | body
    reply = await ask(house, "POST", path, asked, "X-Request-Timeout: 0.05", "X-Api-Key: k")
    assert reply.status == 504
    assert "time" in reply.body.decode()
    assert kind_of(reply) == {"chat": "", "anthropic": "timeout_error"}.get(dialect, "api_error")
    assert runner.statistics().waiting == 4
    hold.open()
    await house.until(house.at_rest)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_time_that_is_over_within_the_answer_is_its_last_event(
    build: Callable[..., Any], dialect: str
) -> None:
    """What was said stays, the last event tells why it ends, the sequence is freed."""
    house: House = await build(script=babble)
    await ask(house, "POST", "/api/generate", {"model": "m"})
    house.hooks.on_decode = lambda batch: time.sleep(0.002)
    path, body = DIALECTS[dialect]
    asked = {"model": "m", "stream": True, "options": {"timeout": "300ms"}} | body
    if dialect == "anthropic":
        asked.pop("options")
    reply = await ask(house, "POST", path, asked, "X-Request-Timeout: 300ms")
    assert reply.status == 200
    assert b"the time for this request is over" in reply.body[-600:]
    await house.until(house.at_rest)


async def test_the_servers_own_limit_and_the_options_hold_too(build: Callable[..., Any]) -> None:
    """The earliest of header, option and setting ends a request."""
    house: House = await build(script=babble, request_timeout=10**8)
    await ask(house, "POST", "/api/generate", {"model": "m"})
    house.hooks.on_decode = lambda batch: time.sleep(0.002)
    for more in ({}, {"options": {"timeout": 60}}):
        asked = {"model": "m", "prompt": "x", "stream": False} | more
        began = time.perf_counter()
        reply = await ask(house, "POST", "/api/generate", asked, "X-Request-Timeout: 60")
        assert reply.status == 504
        assert time.perf_counter() - began < 10
    await house.until(house.at_rest)


@pytest.mark.parametrize(
    ("headers", "options", "words"),
    [
        (["X-Request-Timeout: soon"], {}, "X-Request-Timeout must be seconds"),
        (["X-Request-Timeout: -1"], {}, "X-Request-Timeout must be seconds"),
        (["X-Request-Timeout: nan"], {}, "X-Request-Timeout must be seconds"),
        (["X-Priority: urgent"], {}, "X-Priority must be one of interactive, batch, embedding"),
        ([], {"timeout": 0}, 'option "timeout" must be seconds'),
        ([], {"timeout": True}, 'option "timeout" must be seconds'),
        ([], {"priority": 3}, 'option "priority" must be one of'),
    ],
)
async def test_malformed_wishes_are_refused_by_name(
    build: Callable[..., Any], headers: list[str], options: dict[str, Any], words: str
) -> None:
    """A header or option that is none is a 400 that names it."""
    house: House = await build()
    asked = {"model": "m", "prompt": "x", "options": options}
    reply = await ask(house, "POST", "/api/generate", asked, *headers)
    assert reply.status == 400
    assert words in reply.json()["error"]


async def test_vectors_keep_to_their_time(build: Callable[..., Any]) -> None:
    """A request for vectors ends with 504 too, and nothing of it waits any more."""
    house: House = await build(model("e", capabilities=("embedding",)))
    await ask(house, "POST", "/api/embed", {"model": "e", "input": "x"})
    opened = threading.Event()
    house.hooks.on_embed = lambda inputs: opened.wait(20) and None
    asked = {"model": "e", "input": "x"}
    reply = await ask(house, "POST", "/api/embed", asked, "X-Request-Timeout: 0.05")
    assert reply.status == 504
    opened.set()
    await house.until(house.at_rest)


async def test_the_queue_is_shown_with_positions_and_what_is_ones_own(
    build: Callable[..., Any],
) -> None:
    """``/api/ps`` lists who waits, in the engine's order, without telling others' names."""
    house, hold = await full_house(build, 8)
    (runner,) = house.server.pool.residents
    batch = ("Authorization: Bearer secret", "X-Priority: batch")
    await send(house, "/api/generate", {"prompt": "mine"}, *batch)
    await house.until(lambda: runner.statistics().waiting == 9)
    reply = await ask(house, "GET", "/api/ps", None, "Authorization: Bearer secret")
    (entry,) = reply.json()["models"]
    assert [one["position"] for one in entry["queue"]] == list(range(1, 10))
    (mine,) = [one for one in entry["queue"] if one["yours"]]
    assert mine["priority"] == "batch"
    assert mine["prompt_tokens"] > 4
    assert mine["waited_seconds"] >= 0
    assert b"secret" not in reply.body
    hold.open()
    await house.until(house.at_rest)
    (entry,) = (await ask(house, "GET", "/api/ps")).json()["models"]
    assert "queue" not in entry


async def test_nobody_waits_for_itself(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request is expected while its prompt is made, and no more when the engine gets it."""
    house = await build(model("m"))
    coming: list[int] = []
    tokenize, submit = Runner.tokenize, Runner.submit_nowait

    def tokenizing(runner: Runner, *args: Any, **flags: Any) -> Any:
        coming.append(runner.statistics().coming)
        return tokenize(runner, *args, **flags)

    def submitting(runner: Runner, job: Job) -> Any:
        coming.append(runner.statistics().coming)
        return submit(runner, job)

    monkeypatch.setattr(Runner, "tokenize", tokenizing)
    monkeypatch.setattr(Runner, "submit_nowait", submitting)
    await ask(house, "POST", "/api/generate", {"model": "m", "prompt": "x", "stream": False})
    assert coming == [1, 0]
