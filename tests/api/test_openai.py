"""OpenAI's dialect, judged by OpenAI's own client; what it cannot see, by the bytes."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest
import trio

from tests.support.clients import said, with_openai
from tests.support.house import House, Reply, ask, connect, model
from trillama.engine.fake import babble, fixed

SAY = [{"role": "user", "content": 'Repeat: "one two"'}]
THINKER = functools.partial(
    model,
    capabilities=("completion", "thinking"),
    chat_template=(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n{% if enable_thinking is false %}<think></think>{% endif %}"
    ),
)


async def chat(house: House, **fields: Any) -> Any:
    """A chat by the official client; streamed ones as a list."""

    def work(client: openai.OpenAI) -> Any:
        found = client.chat.completions.create(**{"model": "m", "messages": SAY} | fields)
        return list(found) if fields.get("stream") else found

    return await with_openai(house, work)


async def post(house: House, **fields: Any) -> Reply:
    body = {"model": "m", "messages": SAY} | fields
    return await ask(house, "POST", "/v1/chat/completions", body)


def events(body: bytes) -> list[Any]:
    """The documents of a stream's events, and "[DONE]"."""
    found = [line[6:] for line in body.decode().split("\n\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in found]


# -- chat -----------------------------------------------------------------------------------------


async def test_a_chat(build: Callable[..., Any]) -> None:
    """Whole and streamed are the same text, reason and counts."""
    house = await build()
    whole = await chat(house)
    chunks = await chat(house, stream=True, stream_options={"include_usage": True})

    assert whole.choices[0].message.content == said(chunks) == "one two"
    assert whole.choices[0].finish_reason == chunks[-2].choices[0].finish_reason == "stop"
    assert (whole.object, chunks[0].object) == ("chat.completion", "chat.completion.chunk")
    assert whole.id.startswith("chatcmpl-")
    assert len({chunk.id for chunk in chunks}) == 1
    for usage in (whole.usage, chunks[-1].usage):
        assert usage.completion_tokens == 8
        assert usage.total_tokens == usage.prompt_tokens + 8
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens > 0


async def test_the_order_of_a_stream(build: Callable[..., Any]) -> None:
    """The role once, the reason in a chunk of its own, counts only on demand, then the mark."""
    reply = await post(await build(), stream=True)
    *chunks, done = events(reply.body)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]

    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
    assert done == "[DONE]"
    assert [("role" in delta) for delta in deltas] == [True] + [False] * (len(deltas) - 1)
    assert deltas[-1] == {}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:]] == [None, "stop"]
    assert all("usage" not in chunk for chunk in chunks)


async def test_an_answer_that_says_nothing(build: Callable[..., Any]) -> None:
    """It still has a role, a reason and an end."""
    house = await build(script=fixed(""))
    chunks = await chat(house, stream=True)
    whole = await chat(house)

    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant", None]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert whole.choices[0].message.content == ""


async def test_reasoning_has_both_of_its_names(build: Callable[..., Any]) -> None:
    """In the message and in deltas; an effort of "none" suppresses it."""
    house = await build(THINKER("m"), script=fixed("<think>hm</think>42"))
    message = (await chat(house)).choices[0].message
    chunks = await chat(house, stream=True)

    for name in ("reasoning", "reasoning_content"):
        assert getattr(message, name) == said(chunks, name) == "hm"
    assert message.content == said(chunks) == "42"

    quiet = await build(THINKER("m"), script=fixed("42"))
    message = (await chat(quiet, reasoning_effort="none")).choices[0].message
    assert (message.content, hasattr(message, "reasoning")) == ("42", False)


async def test_limits_and_stops_are_told_truthfully(build: Callable[..., Any]) -> None:
    """Both names of the limit count; a stop string is no part of the answer."""
    house = await build(script=fixed("one two three four"))
    old, new = [
        (await chat(house, **{field: 3})).choices[0]
        for field in ("max_tokens", "max_completion_tokens")
    ]
    stopped = (await chat(house, stop="three")).choices[0]

    assert (old.finish_reason, old.message.content) == ("length", "one")
    assert (new.finish_reason, new.message.content) == ("length", "one")
    assert (stopped.finish_reason, stopped.message.content) == ("stop", "one two ")


async def test_several_answers_share_the_prompt(build: Callable[..., Any]) -> None:
    """Choices by index, streamed side by side or whole; the prompt is counted and computed once."""
    house = await build(script=babble)
    fields = {"n": 4, "max_tokens": 20, "seed": 7}
    whole = await chat(house, **fields)
    usage = {"include_usage": True}
    chunks = await chat(house, **fields, stream=True, stream_options=usage)

    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    for choice in whole.choices:
        assert choice.message.content == said(chunks, index=choice.index)
        assert (len(choice.message.content), choice.finish_reason) == (20, "length")
    ends = [c.index for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert sorted(ends) == [0, 1, 2, 3]
    assert whole.usage.completion_tokens == chunks[-1].usage.completion_tokens == 80
    assert whole.usage.prompt_tokens == chunks[-1].usage.prompt_tokens < 80
    await house.until(house.at_rest)


async def test_biases_and_extras_have_an_effect(build: Callable[..., Any]) -> None:
    """Token numbers as keys; fields beyond OpenAI's stand at the top level."""
    house = await build(script=babble)
    biased = await chat(house, logit_bias={"90": 100}, max_tokens=3)

    assert biased.choices[0].message.content == "ZZZ"
    with pytest.raises(openai.BadRequestError, match="the context holds 8"):
        await chat(house, extra_body={"num_ctx": 8})


# -- models ---------------------------------------------------------------------------------------


async def test_models(build: Callable[..., Any]) -> None:
    """Listed, and found by any name that leads to them, slashes and all."""
    house = await build(model("m"), model("hf.co/team/Model:Q4"))
    listed = await with_openai(house, lambda client: client.models.list())
    one = await with_openai(house, lambda client: client.models.retrieve("hf.co/team/Model:Q4"))
    short = (await ask(house, "GET", "/v1/models/m")).json()

    assert [found.id for found in listed] == ["m:latest", "hf.co/team/Model:Q4"]
    assert (listed.data[0].created, listed.data[0].owned_by) == (1_700_000_000, "library")
    assert (one.id, one.owned_by) == ("hf.co/team/Model:Q4", "team")
    assert short == {"id": "m", "object": "model", "created": 1_700_000_000, "owned_by": "library"}


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kind", "code", "param"),
    [
        ({"model": "absent"}, openai.NotFoundError, "model_not_found", None),
        ({"model": ""}, openai.BadRequestError, "bad_request", "model"),
        ({"messages": []}, openai.BadRequestError, "bad_request", "messages"),
        ({"temperature": "warm"}, openai.BadRequestError, "bad_request", "temperature"),
        ({"n": 0}, openai.BadRequestError, "bad_request", "n"),
        ({"modalities": ["audio"]}, openai.BadRequestError, "unsupported", "modalities"),
        ({"extra_body": {"num_ctx": 4}}, openai.BadRequestError, "context_length_exceeded", None),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_errors_arrive_as_errors(
    build: Callable[..., Any], fields: dict[str, Any], kind: Any, code: str, param: str | None
) -> None:
    """Status, code and the field at fault, streamed or not."""
    house = await build()
    for stream in (False, True):
        with pytest.raises(kind) as refused:
            await chat(house, **fields, stream=stream)
        assert (refused.value.code, refused.value.param) == (code, param)
        assert set(refused.value.body) == {"message", "type", "param", "code"}
        assert refused.value.request_id


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/v1/models/x", 404),
    ],
)
async def test_paths_that_lead_nowhere(
    build: Callable[..., Any], method: str, path: str, status: int
) -> None:
    """They too answer in JSON."""
    reply = await ask(await build(), method, path)

    assert reply.status == status
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


async def test_trouble_in_the_middle_is_an_event(build: Callable[..., Any]) -> None:
    """The client raises it after what was said; no mark of a good end follows."""
    house = await build(script=babble)

    def fail(batch: Any) -> None:
        if house.backend.contexts[-1].cells_used > 120:
            raise RuntimeError("the engine broke")

    house.hooks.on_decode = fail
    reply = await post(house, stream=True, max_tokens=500)
    *chunks, error = events(reply.body)

    assert reply.status == 200
    assert chunks
    assert error["error"]["type"] == "api_error"
    assert b"[DONE]" not in reply.body
    with pytest.raises(openai.APIError):
        await chat(house, stream=True, max_tokens=500)


# -- waiting --------------------------------------------------------------------------------------


async def test_a_long_wait_shows_signs_of_life(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers and comments go out while the model loads; the client reads on as if nothing was."""
    monkeypatch.setattr("trillama.api.streaming.SILENCE", 0.01)
    house = await build()
    gate = threading.Event()
    house.hooks.on_decode = lambda batch: gate.wait(10)
    wire = await connect(house)
    body = json.dumps({"model": "m", "messages": SAY, "stream": True}).encode()
    with trio.fail_after(10):
        await wire.send("POST", "/v1/chat/completions", body)
        head = await wire.until(b"\r\n\r\n")
        await wire.until(b": waiting\n\n")
        await wire.until(b": waiting\n\n")
        gate.set()
        rest = await wire.until(b"data: [DONE]\n\n")

    assert b"200" in head
    assert b'"content":"o"' in rest


async def test_trouble_after_a_long_wait_is_an_event(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is out by then; the error still arrives, and ends the stream."""
    monkeypatch.setattr("trillama.api.streaming.SILENCE", 0.01)
    house = await build()
    gate = threading.Event()

    def fail(batch: Any) -> None:
        gate.wait(10)
        raise RuntimeError("the engine broke")

    house.hooks.on_decode = fail
    wire = await connect(house)
    body = json.dumps({"model": "m", "messages": SAY, "stream": True}).encode()
    with trio.fail_after(10):
        await wire.send("POST", "/v1/chat/completions", body)
        await wire.until(b": waiting\n\n")
        gate.set()
        rest = await wire.until(b"\r\n0\r\n\r\n")

    assert events(rest.replace(b"\r\n", b"\n\n"))[-1]["error"]["type"] == "api_error"
    await house.until(house.at_rest)


async def test_a_hang_up_while_it_waits_leaves_nothing(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that begins the answer goes with the request."""
    monkeypatch.setattr("trillama.api.streaming.SILENCE", 0.01)
    house = await build(script=babble)
    gate = threading.Event()
    house.hooks.on_decode = lambda batch: gate.wait(10)
    wire = await connect(house)
    body = json.dumps({"model": "m", "messages": SAY, "stream": True, "n": 3}).encode()
    with trio.fail_after(10):
        await wire.send("POST", "/v1/chat/completions", body)
        await wire.until(b": waiting\n\n")
    wire.hang_up()
    await house.until(lambda: house.scheduler.statistics().users == 0)
    gate.set()
    await house.until(house.at_rest)
