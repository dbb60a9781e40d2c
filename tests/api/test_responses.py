"""OpenAI's responses, judged by OpenAI's own client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.support.clients import with_openai
from tests.support.house import House, ask, model
from trillama.api.responses import Kept, ResponseNotFound, Shelf
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.engine.base import Batch
from trillama.engine.fake import babble, fixed, replies

TEXT = 'Repeat: "one two"'
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
THINKER = model(
    "m",
    capabilities=("completion", "thinking"),
    chat_template=CHATML
    + "<|im_start|>assistant\n{% if enable_thinking is false %}<think></think>{% endif %}",
)
TOOLING = model(
    "m",
    capabilities=("completion", "tools"),
    chat_template="{% if tools %}<tools>{{ tools | tojson }}</tools><tool_call></tool_call>"
    "{% endif %}" + CHATML + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
)
TOOL = {"type": "function", "name": "w", "parameters": {"type": "object"}, "strict": False}


async def create(house: House, **fields: Any) -> Any:
    asked = {"model": "m", "input": TEXT} | fields
    return await with_openai(house, lambda client: client.responses.create(**asked))


async def streamed(house: House, **fields: Any) -> tuple[list[Any], Any]:
    """A stream's events, and the response the official client makes of them."""
    asked = {"model": "m", "input": TEXT} | fields

    def work(client: openai.OpenAI) -> tuple[list[Any], Any]:
        with client.responses.stream(**asked) as stream:
            events = list(stream)
            return events, events[-1].response

    return await with_openai(house, work)


def shown(response: Any) -> list[Any]:
    """Output without ids."""
    return [
        (item.type, getattr(item, "content", None) and item.content[0].text)
        for item in response.output
    ]


async def test_a_response(build: Callable[..., Any]) -> None:
    """Whole and streamed are the same items, status and counts."""
    house = await build()
    whole = await create(house)
    events, response = await streamed(house)

    for found in (whole, response):
        assert (found.status, found.output_text) == ("completed", "one two")
        assert shown(found) == [("message", "one two")]
        assert found.usage.output_tokens == 8
        assert found.usage.total_tokens == found.usage.input_tokens + 8
        assert found.id.startswith("resp_")
    assert response.usage.input_tokens == whole.usage.input_tokens
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


async def test_the_limit_makes_it_incomplete(build: Callable[..., Any]) -> None:
    """Status, reason and the last event say so."""
    house = await build(script=babble)
    whole = await create(house, max_output_tokens=16)
    events, response = await streamed(house, max_output_tokens=16)

    for found in (whole, response):
        assert (found.status, found.incomplete_details.reason) == (
            "incomplete",
            "max_output_tokens",
        )
        assert len(found.output_text) == 16
    assert events[-1].type == "response.incomplete"


async def test_reasoning_is_an_item_of_its_own(build: Callable[..., Any]) -> None:
    """Before the message, under an index of its own; sealed text only where it is asked for."""
    house = await build(THINKER, script=fixed("<think>hm</think>42"))
    whole = await create(house)
    events, response = await streamed(house, include=["reasoning.encrypted_content"])

    for found in (whole, response):
        assert [item.type for item in found.output] == ["reasoning", "message"]
        assert found.output[0].summary[0].text == "hm"
        assert found.output_text == "42"
    assert (whole.output[0].encrypted_content, response.output[0].encrypted_content) == (None, "hm")
    added = [event.output_index for event in events if event.type == "response.output_item.added"]
    assert added == [0, 1]


async def test_log_probabilities_make_no_items(build: Callable[..., Any]) -> None:
    """Reasoning stays one item where they are asked for; they are those of the message alone."""
    house = await build(THINKER, script=fixed("<think>so much</think>42"))
    whole = await create(house, top_logprobs=1)
    _, response = await streamed(house, top_logprobs=1)

    for found in (whole, response):
        reasoning, message = found.output
        assert (reasoning.type, reasoning.summary[0].text) == ("reasoning", "so much")
        text = "".join(entry.token for entry in message.content[0].logprobs)
        assert (message.type, found.output_text, text[-2:]) == ("message", "42", "42")
        assert "much" not in text


async def test_a_round_trip_of_tools(build: Callable[..., Any]) -> None:
    """Calls are items; the result, sent with the earlier response's id, leads to an answer."""
    call = '<tool_call>{"name": "w", "arguments": {"city": "Oslo"}}</tool_call>'
    house = await build(TOOLING, script=replies({"Repeat": call, "eighteen": "It is 18."}))
    whole = await create(house, tools=[TOOL])
    _, response = await streamed(house, tools=[TOOL])

    for found in (whole, response):
        (item,) = found.output
        assert (item.type, item.name, item.arguments) == ("function_call", "w", '{"city":"Oslo"}')
    result = {"type": "function_call_output", "call_id": whole.output[0].call_id,
              "output": "eighteen"}  # fmt: skip
    after = await create(house, tools=[TOOL], previous_response_id=whole.id, input=[result])
    assert after.output_text == "It is 18."
    assert after.previous_response_id == whole.id


async def test_a_response_is_gone_on_with(build: Callable[..., Any]) -> None:
    """Its conversation comes before the new input, its instructions do not; it may be forgotten."""
    house = await build(script=replies({"secret word": "It is a pear.", "plum": "ok"}))
    first = await create(house, input="Remember plum", instructions="Be brief")
    seen = await with_openai(house, lambda client: client.responses.retrieve(first.id))
    second = await create(house, input="The secret word?", previous_response_id=first.id)
    counted = await with_openai(
        house,
        lambda client: client.responses.input_tokens.count(
            model="m", input="The secret word?", previous_response_id=first.id
        ),
    )

    assert seen.output_text == first.output_text == "ok"
    assert second.output_text == "It is a pear."
    assert counted.input_tokens == second.usage.input_tokens
    await with_openai(house, lambda client: client.responses.delete(first.id))
    with pytest.raises(openai.NotFoundError, match="response 'resp_"):
        await create(house, previous_response_id=first.id)


async def test_what_is_not_to_be_stored_is_not(build: Callable[..., Any]) -> None:
    """Nothing of it stays."""
    house = await build()
    response = await create(house, store=False)

    assert response.store is False
    reply = await ask(house, "GET", f"/v1/responses/{response.id}")
    assert (reply.status, reply.json()["error"]["code"]) == (404, "response_not_found")


async def test_trouble_in_the_middle_is_the_last_event(build: Callable[..., Any]) -> None:
    """``response.failed``, with what was said so far; nothing is stored."""
    house = await build(script=babble)

    def fail(batch: Batch) -> None:
        if house.backend.contexts[-1].cells_used > 120:
            raise RuntimeError("the engine broke")

    house.hooks.on_decode = fail
    body = {"model": "m", "input": TEXT, "stream": True}
    reply = await ask(house, "POST", "/v1/responses", body)
    names = [line[7:] for line in reply.body.decode().splitlines() if line.startswith("event: ")]

    assert (names[0], names[-1]) == ("response.created", "response.failed")
    assert len([name for name in names if name.rpartition(".")[2] in ("completed", "failed")]) == 1


def test_the_shelf_is_bounded() -> None:
    """The one that was used last leaves last; too large a one does not stay."""
    shelf = Shelf(most=2, most_bytes=5000)
    small = Kept(b"x", (Message("user", "x"),))
    for name in ("a", "b"):
        shelf.put(name, small)
    shelf.get("a")
    shelf.put("c", small)
    assert (shelf.get("a"), shelf.get("c")) == (small, small)
    with pytest.raises(ResponseNotFound):
        shelf.get("b")

    called = Message("assistant", "", tool_calls=(ToolCall(ToolFunction("f", {"x": "y" * 6000})),))
    for huge in (Kept(b"x" * 6000, ()), Kept(b"x", (called,))):
        shelf.put("huge", huge)
        with pytest.raises(ResponseNotFound):
            shelf.get("huge")
    assert shelf.get("a") == small, "what nobody can keep makes nobody leave"
    shelf.put("d", small)
    shelf.drop("d")
    with pytest.raises(ResponseNotFound):
        shelf.drop("d")
