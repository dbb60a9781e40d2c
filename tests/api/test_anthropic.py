"""Anthropic's dialect, judged by Anthropic's own client; what it cannot see, by the bytes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import Any

import anthropic
import pytest
import trio

from tests.support.clients import with_anthropic
from tests.support.house import House, Reply, ask, connect, model
from trillama.engine.base import Batch
from trillama.engine.fake import babble, fixed

SAY = [{"role": "user", "content": 'Repeat: "one two"'}]
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
THINKING = "<|im_start|>assistant\n{% if enable_thinking is false %}<think></think>{% endif %}"
TOOLING = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools><tool_call></tool_call>{% endif %}"
    + CHATML + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)  # fmt: skip
TOOL = {"name": "w", "input_schema": {"type": "object", "properties": {"city": {}}}}


async def create(house: House, **fields: Any) -> anthropic.types.Message:
    """A message by the official client."""
    asked = {"model": "m", "max_tokens": 100, "messages": SAY} | fields
    found: anthropic.types.Message = await with_anthropic(
        house, lambda client: client.messages.create(**asked)
    )
    return found


async def streamed(house: House, **fields: Any) -> tuple[list[Any], anthropic.types.Message]:
    """A stream's events, and the message the official client makes of them."""
    asked = {"model": "m", "max_tokens": 100, "messages": SAY} | fields

    def work(client: anthropic.Anthropic) -> tuple[list[Any], anthropic.types.Message]:
        with client.messages.stream(**asked) as stream:
            return list(stream), stream.get_final_message()

    return await with_anthropic(house, work)


async def post(house: House, **fields: Any) -> Reply:
    body = {"model": "m", "max_tokens": 100, "messages": SAY} | fields
    return await ask(house, "POST", "/v1/messages", body)


def names(body: bytes) -> list[str]:
    return re.findall(r"^event: (\w+)$", body.decode(), re.MULTILINE)


async def test_a_message(build: Callable[..., Any]) -> None:
    """Whole and streamed are the same blocks, reason and counts; cached tokens count apart."""
    house = await build()
    first = await create(house)
    whole = await create(house)
    _, message = await streamed(house)

    for found in (first, whole, message):
        assert [block.type for block in found.content] == ["text"]
        assert found.content[0].text == "one two"
        assert (found.stop_reason, found.stop_sequence) == ("end_turn", None)
        assert found.usage.output_tokens == 8
        assert found.id.startswith("msg_")
    assert first.usage.cache_read_input_tokens == 0
    assert whole.usage.cache_read_input_tokens > 0
    assert message.usage == whole.usage
    assert whole.usage.input_tokens + whole.usage.cache_read_input_tokens == (
        first.usage.input_tokens
    )


async def test_the_order_of_a_stream(build: Callable[..., Any]) -> None:
    """Start, ping, blocks without gaps, delta, stop; the prompt is counted from the start."""
    house = await build(model("m", capabilities=("completion", "thinking"),
                              chat_template=CHATML + THINKING),
                        script=fixed("<think>hm</think>42"))  # fmt: skip
    reply = await post(house, stream=True)
    data = [json.loads(line) for line in re.findall(r"^data: (.*)$", reply.body.decode(), re.M)]
    found = names(reply.body)

    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["request-id"].startswith("req_")
    assert [document["type"] for document in data] == found
    assert found[:2] == ["message_start", "ping"]
    assert found[-2:] == ["message_delta", "message_stop"]
    assert [d["index"] for d in data if d["type"] == "content_block_start"] == [0, 1]
    assert found.count("content_block_stop") == 2
    assert data[0]["message"]["usage"]["input_tokens"] == data[-2]["usage"]["input_tokens"] > 0
    kinds = [d["delta"]["type"] for d in data if d["type"] == "content_block_delta"]
    assert list(dict.fromkeys(kinds)) == ["thinking_delta", "signature_delta", "text_delta"]


async def test_thinking(build: Callable[..., Any]) -> None:
    """A block of its own with a signature; it can be switched off, and a model that cannot is
    not refused for it."""
    thinker = model("m", capabilities=("completion", "thinking"), chat_template=CHATML + THINKING)
    house = await build(thinker, model("plain"), script=fixed("<think>hm</think>42"))
    thinking = {"type": "enabled", "budget_tokens": 50}
    whole = await create(house, thinking=thinking)
    _, message = await streamed(house, thinking=thinking)

    for found in (whole, message):
        assert [block.type for block in found.content] == ["thinking", "text"]
        assert (found.content[0].thinking, found.content[0].signature) == ("hm", "")
        assert found.content[1].text == "42"
    plain = await create(house, model="plain", thinking=thinking)
    assert [block.type for block in plain.content] == ["text"]
    with pytest.raises(anthropic.BadRequestError, match="budget_tokens"):
        await create(house, thinking={"type": "enabled", "budget_tokens": 100})


async def test_stop_sequences_are_told(build: Callable[..., Any]) -> None:
    """Which one it was; the limit has a reason of its own."""
    house = await build(script=fixed("one two three"))
    fields = {"stop_sequences": ["two", "zero"]}
    whole = await create(house, **fields)
    _, message = await streamed(house, **fields)
    cut = await create(house, max_tokens=3)

    for found in (whole, message):
        assert (found.stop_reason, found.stop_sequence) == ("stop_sequence", "two")
        assert found.content[0].text == "one "
    assert (cut.stop_reason, cut.stop_sequence, cut.content[0].text) == ("max_tokens", None, "one")


async def test_a_round_trip_of_tools(build: Callable[..., Any]) -> None:
    """The call is a block with its input as an object; the result leads to an answer."""
    call = '<tool_call>{"name": "w", "arguments": {"city": "Oslo"}}</tool_call>'
    can = model("m", capabilities=("completion", "tools"), chat_template=TOOLING)
    house = await build(can, script=fixed(call))
    whole = await create(house, tools=[TOOL])
    _, message = await streamed(house, tools=[TOOL])

    for found in (whole, message):
        (block,) = found.content
        assert (block.type, block.name, block.input) == ("tool_use", "w", {"city": "Oslo"})
        assert found.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": whole.content[0].id, "content": "18"}
    history = [*SAY, {"role": "assistant", "content": whole.content},
               {"role": "user", "content": [result]}]  # fmt: skip
    assert (await create(house, tools=[TOOL], messages=history)).stop_reason == "tool_use"


async def test_the_answer_may_be_begun_by_the_client(build: Callable[..., Any]) -> None:
    """An assistant's last message is gone on with, not replied to."""
    house = await build(script=fixed("one two three"))
    begun = [*SAY, {"role": "assistant", "content": "one two"}]

    assert (await create(house, messages=begun)).content[0].text == " three"


async def test_counting_is_exact(build: Callable[..., Any]) -> None:
    """As many as the message itself uses, and nothing is loaded for it."""
    house = await build()
    asked = {"model": "m", "messages": SAY, "system": "Be brief."}
    counted = await with_anthropic(house, lambda client: client.messages.count_tokens(**asked))
    loaded = len(house.backend.contexts)
    used = (await create(house, system="Be brief.")).usage

    assert counted.input_tokens == used.input_tokens
    assert loaded == 0


async def test_models(build: Callable[..., Any]) -> None:
    """Listed at the path that is OpenAI's, in the shape this client reads."""
    house = await build(model("m"), model("hf.co/team/Model:Q4"))
    listed = await with_anthropic(house, lambda client: list(client.models.list()))
    one = await with_anthropic(house, lambda client: client.models.retrieve("m"))

    assert [found.id for found in listed] == ["m:latest", "hf.co/team/Model:Q4"]
    assert (one.id, one.created_at.year) == ("m", 2023)


@pytest.mark.parametrize(
    ("fields", "kind", "type_"),
    [
        ({"model": "absent"}, anthropic.NotFoundError, "not_found_error"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error"),
        ({"messages": []}, anthropic.BadRequestError, "invalid_request_error"),
        ({"container": "x"}, anthropic.BadRequestError, "invalid_request_error"),
        ({"extra_body": {"temperature": 1e9}}, anthropic.BadRequestError, "invalid_request_error"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_errors_arrive_as_errors(
    build: Callable[..., Any], fields: dict[str, Any], kind: Any, type_: str
) -> None:
    """In Anthropic's shape, with the id that stands on the log lines, streamed or not."""
    house = await build()
    for call in (create, streamed):
        with pytest.raises(kind) as refused:
            await call(house, **fields)
        body = refused.value.body
        assert (body["type"], body["error"]["type"]) == ("error", type_)
        assert body["request_id"] == refused.value.request_id
        assert body["request_id"].startswith("req_")


async def test_trouble_in_the_middle_is_an_event(build: Callable[..., Any]) -> None:
    """One error event ends the stream; the client raises it."""
    house = await build(script=babble)

    def fail(batch: Any) -> None:
        if house.backend.contexts[-1].cells_used > 120:
            raise RuntimeError("the engine broke")

    house.hooks.on_decode = fail
    reply = await post(house, stream=True, max_tokens=500)

    assert names(reply.body)[-1] == "error"
    assert "message_stop" not in names(reply.body)
    with pytest.raises(anthropic.APIStatusError):
        await streamed(house, max_tokens=500)


async def test_a_long_wait_shows_signs_of_life(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment before the message, pings within it."""
    monkeypatch.setattr("trillama.api.streaming.SILENCE", 0.01)
    house = await build(script=babble)
    gates = [threading.Event(), threading.Event()]
    prompts: list[int] = []

    def hold(batch: Batch) -> None:
        if batch.size > 10:
            prompts.append(batch.size)
            gates[0].wait(10)
        elif prompts:
            gates[1].wait(10)

    house.hooks.on_decode = hold
    wire = await connect(house)
    body = {"model": "m", "max_tokens": 20, "messages": SAY, "stream": True}
    with trio.fail_after(10):
        await wire.send("POST", "/v1/messages", json.dumps(body).encode())
        await wire.until(b": waiting\n\n")
        gates[0].set()
        await wire.until(b"event: ping")
        await wire.until(b"event: ping")
        gates[1].set()
        await wire.until(b"event: message_stop")
