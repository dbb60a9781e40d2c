"""The load generator against a server of a few lines on loopback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import msgspec
import pytest
import trio
from trio.testing import MockClock

from bench.load import Load, Target, request_body, run_load
from bench.servers import parse_address
from bench.stats import summarise
from bench.vocabulary import prompt_words

LOAD = Load(clients=3, prompt_tokens=5, new_tokens=1, requests=7)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    b'{"response":" ab","done":false}\n'
    b'{"response":"","done":true,"prompt_eval_count":5,"eval_count":1}\n'
)


async def answer(stream: trio.SocketStream) -> None:
    """Read one request whole, answer it, close."""
    async with stream:
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += await stream.receive_some()
        head, _, body = raw.partition(b"\r\n\r\n")
        length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += await stream.receive_some()
        await stream.send_all(ANSWER)


async def hang(stream: trio.SocketStream) -> None:
    """Take the connection and never say a word."""
    async with stream:
        await trio.sleep_forever()


async def hang_up(stream: trio.SocketStream) -> None:
    """Close at once."""
    await stream.aclose()


async def serve(
    nursery: trio.Nursery, handler: Callable[[trio.SocketStream], Awaitable[None]]
) -> Target:
    listeners = await nursery.start(trio.serve_tcp, handler, 0)
    port = listeners[0].socket.getsockname()[1]
    return Target(f"http://localhost:{port}", "ollama", "m")


async def test_a_load_sends_the_requests_asked_for(nursery: trio.Nursery) -> None:
    """Clients share the number of requests between them, and each reply is whole."""
    replies = await run_load(await serve(nursery, answer), LOAD)
    summary = summarise(replies, (5, 1), 0.0)

    assert (summary.requests, summary.errors, summary.wrong_lengths) == (7, 0, 0)


async def test_a_silent_server_cannot_hold_the_load(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """At the time limit the load ends; what was cut, and what was never sent, is no success."""
    replies = await run_load(await serve(nursery, hang), replace(LOAD, seconds=30.0))

    assert trio.current_time() == pytest.approx(30.0)
    assert {reply.error for reply in replies} == {"out of time"}
    assert len(replies) == 7


async def test_a_server_that_hangs_up_is_an_error_of_that_request(nursery: trio.Nursery) -> None:
    """Every request is tried and every failure is told."""
    replies = await run_load(await serve(nursery, hang_up), LOAD)

    assert len(replies) == 7
    assert all(reply.error for reply in replies)


def test_prompts_are_unique_and_as_long_as_asked() -> None:
    """Two requests, or two seeds, share no prompt; the shared prefix is the same words."""
    load = replace(LOAD, prompt_tokens=50, shared_prefix=20)
    first, second = load.prompt(0), load.prompt(1)
    words = set(prompt_words())

    assert first[: 20 * 3] == second[: 20 * 3]
    assert first[20 * 3 :] != second[20 * 3 :]
    assert replace(load, seed=1).prompt(0)[: 20 * 3] != first[: 20 * 3]
    assert len(first) == load.whole_prompt * 3
    assert {first[i : i + 3] for i in range(0, len(first), 3)} <= words
    assert load.prompt(0) == first


@pytest.mark.parametrize(
    ("api", "count"),
    [("ollama", ["options", "num_predict"]), ("openai", ["max_tokens"]), ("llama", ["n_predict"])],
)
def test_every_dialect_asks_for_the_same_thing(api: str, count: list[str]) -> None:
    """Length and sampling are said in full in each API."""
    body = msgspec.json.decode(request_body(Target("http://x", api, "m"), " ab", 64))
    sampling = body["options"] if api == "ollama" else body

    assert body["prompt"] == " ab"
    assert body["stream"] is True
    assert (sampling["temperature"], sampling["top_k"]) == (0.8, 40)
    for key in count:
        body = body[key]
    assert body == 64


def test_an_address_names_api_and_model() -> None:
    """`API:MODEL@URL` is read into its parts; a bare URL means Ollama's API."""
    assert parse_address("openai:llama3:8b@http://h:1/x") == Target(
        "http://h:1/x", "openai", "llama3:8b"
    )
    assert parse_address("http://h:1") == Target("http://h:1", "ollama", "bench")


@pytest.mark.parametrize("text", ["nobody", "http:", "soap:m@http://h", "llama:@http://h"])
def test_a_rival_nobody_knows_is_refused(text: str) -> None:
    """A misspelt name is an error that lists the known ones."""
    with pytest.raises(ValueError, match="trillama, equal, xllamacpp"):
        parse_address(text)
