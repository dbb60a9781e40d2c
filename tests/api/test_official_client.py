"""Ollama's own Python client as the judge: it must find everything where it expects it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import ollama
import pytest
import trio

from tests.support.house import CHATML, House, model
from trillama.engine.fake import babble, replies

SAY = [{"role": "user", "content": 'Repeat: "one two"'}]


async def call(house: House, method: str, *args: Any, **fields: Any) -> Any:
    """A call of the client's, in a worker thread."""

    def work() -> Any:
        client = ollama.Client(house.url)
        try:
            found = getattr(client, method)(*args, **fields)
            return list(found) if fields.get("stream") else found
        finally:
            client._client.close()

    with trio.fail_after(20):
        return await trio.to_thread.run_sync(work)


async def test_chat(build: Callable[..., Any]) -> None:
    """Whole and streamed answers are the same text, with counts and times."""
    house = await build()
    whole = await call(house, "chat", model="m", messages=SAY)
    pieces = await call(house, "chat", model="m", messages=SAY, stream=True)

    assert whole.message.content == "one two"
    assert "".join(piece.message.content for piece in pieces) == "one two"
    for end in (whole, pieces[-1]):
        assert (end.done, end.done_reason, end.eval_count) == (True, "stop", 8)
        assert min(end.total_duration, end.load_duration, end.prompt_eval_count) > 0
    assert whole.created_at.endswith("Z")


async def test_tools(build: Callable[..., Any]) -> None:
    """A function of Python's as a tool: its call, its result, the answer; streamed and whole."""

    def now(zone: str) -> str:
        """The time.

        Args:
            zone: where
        """
        return f"12:34 in {zone}"

    call_text = '<tool_call>{"name": "now", "arguments": {"zone": "Oslo"}}</tool_call>'
    table = {"12:34 in Oslo": "It is 12:34.", "What time": call_text}
    caller = model(
        "m",
        capabilities=("completion", "tools"),
        chat_template=CHATML + "{# tools <tool_call> #}",
    )
    house = await build(caller, script=replies(table))
    for stream in (False, True):
        talk: list[Any] = [{"role": "user", "content": "What time is it?"}]
        found = await call(house, "chat", model="m", messages=talk, tools=[now], stream=stream)
        said = found if stream else [found]
        (made,) = [one for part in said for one in part.message.tool_calls or ()]
        talk.append({"role": "assistant", "tool_calls": [made]})
        result = now(**made.function.arguments)
        talk.append({"role": "tool", "content": result, "tool_name": made.function.name})
        answer = await call(house, "chat", model="m", messages=talk, tools=[now])

        assert "".join(part.message.content or "" for part in said) == ""
        assert answer.message.content == "It is 12:34."
        assert not answer.message.tool_calls


async def test_generate(build: Callable[..., Any]) -> None:
    """The same for generate, whose context the client can send back."""
    house = await build()
    whole = await call(house, "generate", model="m", prompt=SAY[0]["content"])
    again = await call(
        house, "generate", model="m", prompt=SAY[0]["content"], context=whole.context, stream=True
    )

    assert whole.response == "one two"
    assert "".join(piece.response for piece in again) == "one two"
    assert list(again[-1].context[: len(whole.context)]) == list(whole.context)


async def test_options_reach_the_model(build: Callable[..., Any]) -> None:
    """The client's typed options are understood."""
    options = ollama.Options(num_predict=7, temperature=0.5, seed=3, stop=["!"], num_ctx=128)
    house = await build(script=babble)
    reply = await call(house, "chat", model="m", messages=SAY, options=options)

    assert (reply.eval_count, reply.done_reason) == (7, "length")


async def test_list_and_ps(build: Callable[..., Any]) -> None:
    """Installed and loaded models, as the client's types read them."""
    house = await build()
    (installed,) = (await call(house, "list")).models
    nothing = (await call(house, "ps")).models
    await call(house, "generate", model="m", keep_alive="10m")
    (loaded,) = (await call(house, "ps")).models

    assert (installed.model, installed.size, installed.details.family) == (
        "m:latest",
        1234,
        "llama",
    )
    assert installed.modified_at.year == 2023
    assert list(nothing) == []
    assert (loaded.model, loaded.size_vram, loaded.context_length) == ("m:latest", 0, 2048)
    assert loaded.expires_at.tzinfo is not None


async def test_keep_alive_zero_unloads(build: Callable[..., Any]) -> None:
    """What ``ollama stop`` sends takes the model out of memory."""
    house = await build()
    await call(house, "generate", model="m")
    stopped = await call(house, "generate", model="m", keep_alive=0)
    await house.until(lambda: not house.backend.open_models)

    assert stopped.done_reason == "unload"


@pytest.mark.parametrize(
    ("model", "options", "status", "text"),
    [
        ("absent", {}, 404, "model 'absent' not found"),
        ("m", {"num_predict": "many"}, 400, 'option "num_predict" must be of type integer'),
    ],
)
async def test_errors_arrive_as_errors(
    build: Callable[..., Any], model: str, options: dict[str, Any], status: int, text: str
) -> None:
    """Status and text come through, streamed or not."""
    house = await build()
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError, match=text) as refused:
            await call(house, "chat", model=model, messages=SAY, options=options, stream=stream)
        assert refused.value.status_code == status


async def test_many_clients_at_once(build: Callable[..., Any]) -> None:
    """Sixteen clients, each gets its own words back."""
    house = await build()
    answers: dict[int, str] = {}

    async def one(number: int) -> None:
        said = [{"role": "user", "content": f'Repeat: "canary {number}"'}]
        pieces = await call(house, "chat", model="m", messages=said, stream=True)
        answers[number] = "".join(piece.message.content for piece in pieces)

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(functools.partial(one, number))

    assert answers == {number: f"canary {number}" for number in range(16)}
    await house.until(house.at_rest)
