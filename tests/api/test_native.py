"""Generate and chat, from the bytes of a request to the bytes of its answer."""

from __future__ import annotations

import functools
import itertools
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.support.house import ask, model
from tests.support.runners import PATIENCE
from trillama.base.callers import Caller
from trillama.base.durations import FOREVER
from trillama.base.messages import Message
from trillama.base.turns import TurnRequest
from trillama.engine.base import Batch
from trillama.engine.fake import babble, fixed, replies

THINKER = functools.partial(
    model,
    capabilities=("completion", "thinking"),
    chat_template=(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n{% if enable_thinking is false %}<think></think>{% endif %}"
    ),
)
METRICS = {
    "total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count",
    "eval_duration",
}  # fmt: skip


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def chat(house: Any, text: str, **fields: Any) -> Any:
    return await ask(house, "POST", "/api/chat", {"model": "m", "messages": user(text), **fields})


async def generate(house: Any, prompt: str, **fields: Any) -> Any:
    return await ask(house, "POST", "/api/generate", {"model": "m", "prompt": prompt, **fields})


async def test_a_chat_streams_lines(build: Callable[..., Any]) -> None:
    """NDJSON: pieces that join to the answer, then one record with reason and metrics."""
    reply = await chat(await build(), 'Repeat: "naïve <b>"')
    *pieces, last = reply.lines()

    assert (reply.status, reply.headers["content-type"]) == (200, "application/x-ndjson")
    assert "".join(piece["message"]["content"] for piece in pieces) == "naïve <b>"
    assert all(list(p) == ["model", "created_at", "message", "done"] for p in pieces)
    assert {p["message"]["role"] for p in pieces} == {"assistant"}
    assert (last["done"], last["done_reason"]) == (True, "stop")
    assert set(last) >= METRICS
    assert last["message"] == {"role": "assistant", "content": ""}
    assert b"\\u003c" in reply.body


async def test_a_generate_streams_lines(build: Callable[..., Any]) -> None:
    """The same for generate, whose last record carries the context."""
    *pieces, last = (await generate(await build(), 'Repeat: "abc"')).lines()

    assert "".join(piece["response"] for piece in pieces) == "abc"
    assert last["response"] == ""
    assert bytes(token for token in last["context"] if token < 256).endswith(b"assistant\nabc")
    assert last["prompt_eval_count"] == len(last["context"]) - 3
    assert last["eval_count"] == 4


async def test_without_streaming_there_is_one_object(build: Callable[..., Any]) -> None:
    """The whole text, the metrics and the reason in one JSON document."""
    house = await build()
    said = await chat(house, 'Repeat: "abc"', stream=False)
    written = await generate(house, 'Repeat: "abc"', stream=False)

    assert said.headers["content-type"] == "application/json; charset=utf-8"
    assert said.json()["message"] == {"role": "assistant", "content": "abc"}
    assert written.json()["response"] == "abc"
    assert set(said.json()) == METRICS | {"model", "created_at", "message", "done", "done_reason"}
    assert set(written.json()) - set(said.json()) == {"response", "context"}


async def test_the_name_is_echoed_as_sent(build: Callable[..., Any]) -> None:
    """No tag is added, case and suffix stay as they came."""
    reply = await ask(
        await build(), "POST", "/api/chat", {"model": "M:latest:local", "messages": user("x")}
    )

    assert {line["model"] for line in reply.lines()} == {"M:latest:local"}


async def test_nothing_to_say_loads_the_model(build: Callable[..., Any]) -> None:
    """An empty prompt, or no messages, answers once the model is resident."""
    house = await build()
    loaded = await ask(house, "POST", "/api/generate", {"model": "m"})
    again = await ask(house, "POST", "/api/chat", {"model": "m", "messages": []})
    (entry,) = (await ask(house, "GET", "/api/ps")).json()["models"]

    assert list(loaded.json()) == ["model", "created_at", "response", "done", "done_reason"]
    assert (loaded.json()["done_reason"], again.json()["done_reason"]) == ("load", "load")
    assert again.json()["message"] == {"role": "assistant", "content": ""}
    assert list(entry) == [
        "name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length",
        "cache",
    ]  # fmt: skip
    assert (entry["name"], entry["context_length"], entry["size_vram"]) == ("m:latest", 2048, 0)
    assert "context_length" not in entry["details"]


@pytest.mark.parametrize(("cells", "shown"), [(1024, 1024), (8192, 4096)])
async def test_ps_shows_what_one_request_may_use(
    build: Callable[..., Any], cells: int, shown: int
) -> None:
    """The pool, or what the model was trained for, the smaller."""
    house = await build(context_length=cells)
    await ask(house, "POST", "/api/generate", {"model": "m"})
    (entry,) = (await ask(house, "GET", "/api/ps")).json()["models"]

    assert entry["context_length"] == shown


TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]
CALLER = functools.partial(
    model,
    capabilities=("completion", "tools", "thinking"),
    chat_template=(
        "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n{# <think></think> <tool_call> #}"
    ),
)
CALLING = 'Hm.\n<tool_call>\n{"name": "now", "arguments": {"zone": 1.0}}\n</tool_call>'


async def test_a_tool_call_is_a_record_of_its_own(build: Callable[..., Any]) -> None:
    """Content first, then a record with the calls and empty content, then the end: Ollama's way."""
    house = await build(CALLER("m"), script=fixed(f"<think>So</think>{CALLING}"))
    lines = (await chat(house, "x", tools=TOOLS)).lines()
    whole = (await chat(house, "x", tools=TOOLS, stream=False)).json()
    said = [line["message"] for line in lines]
    (calls,) = [message for message in said if "tool_calls" in message]
    (call,) = calls["tool_calls"]

    assert "".join(message["content"] for message in said) == "Hm."
    assert "".join(message.get("thinking", "") for message in said) == "So"
    assert list(calls) == ["role", "content", "tool_calls"]
    assert calls["content"] == ""
    assert (lines[-1]["done_reason"], "tool_call_malformed" in lines[-1]) == ("stop", False)
    assert list(call) == ["id", "function"]
    assert call["function"] == {"index": 0, "name": "now", "arguments": {"zone": 1}}
    assert re.fullmatch("call_[a-z0-9]{8}", call["id"])
    assert list(whole["message"]) == ["role", "content", "thinking", "tool_calls"]
    assert whole["message"]["tool_calls"][0]["function"] == call["function"]


async def test_a_malformed_call_is_text_and_said_to_be(build: Callable[..., Any]) -> None:
    """Here it is cut short: the text comes as content, and the last record names it."""
    house = await build(CALLER("m"), script=fixed(CALLING))
    short = {"num_predict": len(CALLING) - 20}
    *pieces, end = (await chat(house, "x", tools=TOOLS, options=short)).lines()

    assert "".join(p["message"]["content"] for p in pieces) == CALLING[:-20]
    assert (end["done_reason"], end["tool_call_malformed"]) == ("length", True)


async def test_a_call_is_one_of_the_tools(build: Callable[..., Any]) -> None:
    """Whatever the model would write behind the mark, it names a tool that was offered."""
    house = await build(CALLER("m"), script=fixed('<tool_call>{"name": "no", "arguments": {}}'))
    zone = {"type": "object", "properties": {"zone": {"const": 1}}, "required": ["zone"]}
    tools = [{"type": "function", "function": {"name": "now", "parameters": zone}}]
    lines = (await chat(house, "x", tools=tools, options={"num_predict": 200})).lines()
    call, *_ = [call for line in lines for call in line["message"].get("tool_calls", ())]

    assert (call["function"]["name"], call["function"]["arguments"]) == ("now", {"zone": 1})


async def test_one_call_ends_the_answer_where_no_more_are_wanted(build: Callable[..., Any]) -> None:
    """The job leaves the engine with it, which here waits for that; what would follow is not
    told."""
    call, ended = '<tool_call>{"name": "now", "arguments": {}}</tool_call>', threading.Event()
    house = await build(CALLER("m"), script=fixed(call + call + "a" * 999))
    decodes = itertools.count()

    def hold(_: Batch) -> None:
        if next(decodes) > 2 * len(call) + 50:
            assert ended.wait(PATIENCE)

    house.hooks.on_decode = hold
    request = TurnRequest(
        model="m", messages=(Message("user", "x"),), tools=tuple(TOOLS), parallel_tool_calls=False
    )
    with await house.server.desk.begin(request, "job", Caller(asked=trio.current_time())) as turn:
        events = []
        while more := await turn.receive_many():
            events += more
    ended.set()
    end = events[-1]

    assert [len(piece.tool_calls) for piece in events[:-1]] == [1]
    assert (end.reason, end.malformed) == ("stop", False)
    assert end.usage.output_tokens <= 2 * len(call) + 50
    await house.until(house.at_rest)


async def test_without_tools_a_call_is_text(build: Callable[..., Any]) -> None:
    """Nothing offered, or ``tool_choice`` none: neither prompt nor parser knows of tools."""
    house = await build(CALLER("m"), script=fixed(CALLING))
    for fields in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        reply = (await chat(house, "x", stream=False, **fields)).json()
        shown = (await chat(house, "x", _debug_render_only=True, **fields)).json()

        assert reply["message"] == {"role": "assistant", "content": CALLING}
        assert "[now]" not in shown["_debug_info"]["rendered_template"]
    offered = (await chat(house, "x", tools=TOOLS, _debug_render_only=True)).json()
    assert offered["_debug_info"]["rendered_template"].startswith("[now]")


async def test_a_model_without_tools_says_so(build: Callable[..., Any]) -> None:
    """Ollama's text, with the full name."""
    reply = await chat(await build(), "x", tools=TOOLS)

    assert (reply.status, reply.json()) == (
        400, {"error": "registry.ollama.ai/library/m:latest does not support tools"},
    )  # fmt: skip


async def test_keep_alive_zero_unloads(build: Callable[..., Any]) -> None:
    """Loaded or not, an unload says so; the model leaves memory."""
    house = await build()
    never = await ask(house, "POST", "/api/generate", {"model": "m", "keep_alive": 0})
    await chat(house, "Repeat: x")
    unloaded = await ask(house, "POST", "/api/chat", {"model": "m", "keep_alive": "0s"})
    await house.until(lambda: not house.backend.open_models)

    assert never.json()["done_reason"] == unloaded.json()["done_reason"] == "unload"
    assert len(house.backend.models) == 1


async def test_keep_alive_zero_with_a_prompt_unloads_afterwards(build: Callable[..., Any]) -> None:
    """The answer is given in full, then the model goes."""
    house = await build()
    reply = await chat(house, 'Repeat: "bye"', keep_alive=0, stream=False)
    await house.until(lambda: not house.backend.open_models)

    assert reply.json()["message"]["content"] == "bye"


async def test_keep_alive_of_a_request_stays_with_the_model(build: Callable[..., Any]) -> None:
    """A negative one means forever, some 292 years; a request without one changes nothing."""
    house = await build()
    for fields in ({"keep_alive": -1}, {}):
        await chat(house, "Repeat: x", **fields)
    (entry,) = (await ask(house, "GET", "/api/ps")).json()["models"]

    assert entry["expires_at"] > "2290"
    assert FOREVER > 10**18


async def test_raw_text_reaches_the_model_untouched(build: Callable[..., Any]) -> None:
    """No template, no context in the answer."""
    reply = await generate(await build(), 'Repeat: "raw"', raw=True, stream=False)

    assert reply.json()["response"] == "raw"
    assert reply.json()["prompt_eval_count"] == len('Repeat: "raw"')
    assert "context" not in reply.json()


async def test_a_returned_context_continues_the_conversation(build: Callable[..., Any]) -> None:
    """Tokens of an earlier answer go in front of the next prompt as they are."""
    house = await build(script=replies({"Ada": "known", "who": "unknown"}))
    first = (await generate(house, "Ada here", stream=False)).json()
    second = (await generate(house, "?", context=first["context"], stream=False)).json()

    assert second["response"] == "known"
    assert second["context"][: len(first["context"])] == first["context"]


@pytest.mark.parametrize("token", [-1, 100_000])
async def test_a_context_of_foreign_tokens_is_refused(
    build: Callable[..., Any], token: int
) -> None:
    """Ids outside the vocabulary are a 400."""
    reply = await generate(await build(), "x", context=[1, token])

    assert (reply.status, "context" in reply.json()["error"]) == (400, True)


async def test_system_texts_and_examples_are_placed(build: Callable[..., Any]) -> None:
    """The model's own come first; a system text of the request replaces the model's."""
    stored = (Message("user", "ex"), Message("assistant", "ample"))
    house = await build(model("m", system="Own", messages=stored))

    async def rendered(path: str, **fields: Any) -> str:
        body = {"model": "m", "_debug_render_only": True, **fields}
        reply = (await ask(house, "POST", path, body)).json()
        roles = reply["_debug_info"]["rendered_template"].split("<|im_start|>")
        return "|".join(
            part.partition("<|im_end|>")[0].replace("\n", ":", 1) for part in roles[1:-1]
        )

    own = "system:Own|user:ex|assistant:ample|user:x"
    mine = "system:Mine|user:ex|assistant:ample|user:x"
    with_system = [{"role": "SYSTEM", "content": "Mine"}, *user("x")]

    assert await rendered("/api/generate", prompt="x") == own
    assert await rendered("/api/chat", messages=user("x")) == own
    assert await rendered("/api/generate", prompt="x", system="Mine") == mine
    assert await rendered("/api/chat", messages=with_system) == mine
    assert await rendered("/api/generate", prompt="x", context=[]) == "system:Own|user:x"


async def test_a_debug_record_shows_the_prompt(build: Callable[..., Any]) -> None:
    """The rendered text and nothing of an answer; chat's has an empty role."""
    house = await build()
    said = (await chat(house, "x", _debug_render_only=True)).json()
    raw = (await generate(house, "<x>", raw=True, _debug_render_only=True)).json()

    assert said["message"] == {"role": "", "content": ""}
    assert (said["done"], "done_reason" in said) == (False, False)
    assert raw["_debug_info"] == {"rendered_template": "<x>"}


async def test_a_debug_record_shows_where_pictures_stand(build: Callable[..., Any]) -> None:
    """A tag for each, numbered through the conversation, in its place or before the text."""
    house = await build()
    two = ["aGk=", "aGk="]
    messages = [
        {"role": "user", "content": "See [img] here", "images": two},
        {"role": "user", "content": "this", "images": two[:1]},
    ]
    said = (await chat(house, "", messages=messages, _debug_render_only=True)).json()
    asked = (await generate(house, "x", images=two[:1], _debug_render_only=True)).json()
    refused = await chat(house, "", messages=messages)

    assert "[img-1]See [img-0] here" in said["_debug_info"]["rendered_template"]
    assert "[img-2]this" in said["_debug_info"]["rendered_template"]
    assert said["_debug_info"]["image_count"] == 3
    assert "[img-0]x" in asked["_debug_info"]["rendered_template"]
    assert refused.status == 400
    assert refused.json()["error"] == "not supported by this version of trillama: images"


# -- thinking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_reasoning_is_split_from_the_answer(build: Callable[..., Any], path: str) -> None:
    """In both endpoints, streamed and not, thinking has its own field."""
    house = await build(THINKER("m"), script=fixed("<think>hm, well</think>42"))
    body = {"model": "m", "messages": user("x"), "prompt": "x"}
    whole = (await ask(house, "POST", path, {**body, "stream": False})).json()
    lines = (await ask(house, "POST", path, body)).lines()

    def said(line: Any) -> tuple[str, str]:
        there = line["message"] if path == "/api/chat" else line
        return there.get("thinking", ""), there.get("content", there.get("response"))

    assert said(whole) == ("hm, well", "42")
    assert "".join(said(line)[0] for line in lines) == "hm, well"
    assert "".join(said(line)[1] for line in lines) == "42"


async def test_a_thinking_model_thinks_unless_told_not_to(build: Callable[..., Any]) -> None:
    """Absent means true; the template sees what the request said."""
    house = await build(THINKER("m"))

    async def tail(**fields: Any) -> str:
        reply = (await chat(house, "x", _debug_render_only=True, **fields)).json()
        return str(reply["_debug_info"]["rendered_template"].rpartition("\n")[2])

    assert [await tail(), await tail(think=True)] == ["", ""]
    assert await tail(think=False) == "<think></think>"


@pytest.mark.parametrize("think", [True, "high"])
async def test_a_model_that_cannot_think_says_so(
    build: Callable[..., Any], think: bool | str
) -> None:
    """Asking for reasoning is a 400 with Ollama's text; declining it is fine."""
    house = await build()
    refused = await chat(house, "x", think=think)

    assert (refused.status, refused.json()["error"]) == (400, '"m" does not support thinking')
    assert (await chat(house, "x", think=False)).status == 200


# -- limits ---------------------------------------------------------------------------------------


async def test_num_predict_ends_by_length(build: Callable[..., Any]) -> None:
    """So many tokens and no more; zero means none at all."""
    house = await build(script=babble)
    five = (await chat(house, "x", stream=False, options={"num_predict": 5})).json()
    none = (await chat(house, "x", stream=False, options={"num_predict": 0})).json()

    assert (five["done_reason"], five["eval_count"]) == ("length", 5)
    assert (none["done_reason"], none["message"]["content"]) == ("length", "")


async def test_a_stop_string_ends_the_answer(build: Callable[..., Any]) -> None:
    """What comes before it is shown, it and the rest are not; the model's own apply too."""
    house = await build(model("m", parameters={"stop": ["7"]}), script=fixed("1234567890"))
    own = (await chat(house, "x", stream=False)).json()
    asked = (await chat(house, "x", stream=False, options={"stop": ["45", "3!"]})).json()

    assert (own["message"]["content"], own["done_reason"]) == ("123456", "stop")
    assert asked["message"]["content"] == "123"


async def test_an_over_long_prompt_is_an_error_with_both_counts(build: Callable[..., Any]) -> None:
    """Nothing is cut in silence: 400 before the first byte, whether streamed or not."""
    house = await build()
    for stream in (True, False):
        for fields in ({}, {"truncate": False}):
            reply = await generate(
                house, "a" * 300, raw=True, stream=stream, options={"num_ctx": 100}, **fields
            )
            assert reply.status == 400
            assert "300 tokens" in reply.json()["error"]
            assert "100" in reply.json()["error"]


async def test_truncation_is_reported(build: Callable[..., Any]) -> None:
    """Asked for, the middle of a raw prompt is cut and the record says how much."""
    house = await build(script=babble)
    options = {"num_ctx": 100, "num_predict": 4, "num_keep": 10}
    reply = await generate(house, "a" * 300, raw=True, truncate=True, stream=False, options=options)
    end = reply.json()

    assert end["truncated"] is True
    assert end["prompt_tokens_dropped"] == 300 - end["prompt_eval_count"]
    assert end["prompt_eval_count"] == 96


async def test_truncation_drops_the_oldest_messages_first(build: Callable[..., Any]) -> None:
    """The system text and the last message stay; as few as needed are left out."""
    house = await build()
    old = [{"role": "user", "content": f"{n}" * 100} for n in range(6)]
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "S"}, *old, *user('Repeat: "ok"')],
        "truncate": True,
        "stream": False,
        "options": {"num_ctx": 500},
    }
    end = (await ask(house, "POST", "/api/chat", body)).json()

    assert (end["message"]["content"], end["truncated"]) == ("ok", True)
    assert end["prompt_tokens_dropped"] == 3 * len("?user\n" + "n" * 100 + "?\n")


async def test_num_ctx_limits_a_request_and_reloads_nothing(build: Callable[..., Any]) -> None:
    """Different limits share one runner; more than the pool means the pool."""
    house = await build()
    for num_ctx in (100, 1000, 10**6):
        reply = await chat(house, "Repeat: x", options={"num_ctx": num_ctx})
        assert reply.status == 200

    assert len(house.backend.models) == 1


async def test_without_shift_the_context_ends_the_answer(build: Callable[..., Any]) -> None:
    """``shift: false`` ends by length when the window is full; by default it slides on."""
    house = await build(script=babble)
    options = {"num_ctx": 64, "num_predict": 200}
    ended = (
        await generate(house, "abc", raw=True, stream=False, shift=False, options=options)
    ).json()
    went_on = (await generate(house, "abc", raw=True, stream=False, options=options)).json()

    assert (ended["done_reason"], ended["eval_count"] < 64) == ("length", True)
    assert went_on["eval_count"] == 200


@pytest.mark.parametrize(
    ("options", "name"),
    [({"seed": "x"}, "seed"), ({"top_p": 2}, "top_p"), ({"stop": "x"}, "stop"),
     ({"use_mmap": 1}, "use_mmap")],
)  # fmt: skip
async def test_a_wrong_option_is_named(
    build: Callable[..., Any], options: dict[str, Any], name: str
) -> None:
    """A bad value is the client's fault: 400, naming the option."""
    reply = await chat(await build(), "x", options=options)

    assert (reply.status, name in reply.json()["error"]) == (400, True)


async def test_unknown_options_are_harmless(build: Callable[..., Any]) -> None:
    """Retired and misspelt names are logged and have no effect, as clients expect."""
    reply = await chat(
        await build(), "Repeat: x", options={"mirostat": 1, "nonsense": [], "seed": None}
    )

    assert reply.status == 200


# -- trouble --------------------------------------------------------------------------------------


async def test_a_failed_load_has_a_status(build: Callable[..., Any]) -> None:
    """A model that cannot be loaded is a 500 before any line, and the next request tries again."""
    house = await build()

    def refuse(path: str, params: Any) -> None:
        raise RuntimeError("no such thing")

    house.hooks.on_load = refuse
    failed = await chat(house, "Repeat: x")
    house.hooks.on_load = None
    worked = await chat(house, "Repeat: x")

    assert (failed.status, set(failed.json())) == (500, {"error"})
    assert worked.status == 200


async def test_trouble_after_the_first_line_is_a_last_line(build: Callable[..., Any]) -> None:
    """The status cannot change any more: an error line, no done record, a clean end."""
    house = await build(script=babble)
    decodes = 0

    def break_down(batch: Any) -> None:
        nonlocal decodes
        decodes += 1
        if decodes > 20:
            raise RuntimeError("the machine broke")

    house.hooks.on_decode = break_down
    reply = await chat(house, "x")
    *pieces, last = reply.lines()

    assert (reply.status, len(pieces) > 5) == (200, True)
    assert set(last) == {"error"}
    assert not any(piece["done"] for piece in pieces)
    assert house.at_rest()


async def test_too_many_are_told_when_to_come_back(build: Callable[..., Any]) -> None:
    """A full queue is a 503 with Ollama's text and a Retry-After."""
    house = await build(script=babble, num_parallel=1, max_queue=1)
    body = {"model": "m", "messages": user("x"), "options": {"num_predict": -1, "num_ctx": 2000}}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, house, "POST", "/api/chat", body)
        stats = house.server.pool.statistics
        await house.until(lambda: any(r.running for r in stats().runners))
        nursery.start_soon(ask, house, "POST", "/api/chat", body)
        await house.until(lambda: any(r.waiting for r in stats().runners))
        refused = await ask(house, "POST", "/api/chat", body)
        nursery.cancel_scope.cancel()

    assert refused.status == 503
    assert refused.json()["error"] == (
        "server busy, please try again.  maximum pending requests exceeded"
    )
    assert int(refused.headers["retry-after"]) >= 1
    await house.until(house.at_rest)


async def test_a_pinned_name_means_one_manifest(build: Callable[..., Any]) -> None:
    """``name@sha256:…`` answers while the manifest is that one, and is a 404 afterwards."""
    house = await build()
    pinned = await generate(house, "Repeat: x", model="m@sha256:" + "ab" * 32)
    other = await generate(house, "Repeat: x", model="m@sha256:" + "cd" * 32)

    assert pinned.status == 200
    assert other.status == 404
    assert other.json()["error"] == f"model 'm@sha256:{'cd' * 32}' not found"
