"""A model's Go template, or the request's own, makes the prompts of generate and chat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.house import ask, model
from trillama.engine.fake import fixed
from trillama.models.manifest import Config

GO = "{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}<assistant>"
LEGACY = "{{ if .System }}S:{{ .System }} {{ end }}U:{{ .Prompt }} A:{{ .Response }}<end>"
FIM = "{{ if .Suffix }}<PRE>{{ .Prompt }}<SUF>{{ .Suffix }}<MID>{{ else }}{{ .Prompt }}{{ end }}"
THINKER = (
    "{{ range .Messages }}{{ .Role }}:{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}"
    "{{ .Content }}|{{ end }}{{ .Think }} {{ .ThinkLevel }} {{ .IsThinkSet }}"
)


async def rendered(house: Any, path: str, **fields: Any) -> str:
    body = {"model": "m", "_debug_render_only": True, **fields}
    reply = await ask(house, "POST", path, body)
    assert reply.status == 200, reply.json()
    return str(reply.json()["_debug_info"]["rendered_template"])


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def test_a_model_with_only_a_go_template_answers(build: Callable[..., Any]) -> None:
    """Chat and generate are rendered by it, streamed or not."""
    house = await build(model("m", template=GO, chat_template=""))

    assert await rendered(house, "/api/chat", messages=user("hi")) == "<user>hi<assistant>"
    assert await rendered(house, "/api/generate", prompt="hi") == "<user>hi<assistant>"
    said = await ask(
        house, "POST", "/api/chat", {"model": "m", "messages": user('Repeat: "x"'), "stream": False}
    )
    assert said.json()["message"]["content"] == "x"


async def test_a_template_of_exchanges_takes_turns(build: Callable[..., Any]) -> None:
    """Older templates are executed once for every exchange, the last up to the answer."""
    house = await build(model("m", template=LEGACY, chat_template="", system="Sys"))
    messages = [*user("a"), {"role": "assistant", "content": "b"}, *user("c")]

    assert await rendered(house, "/api/chat", messages=messages) == "S:Sys U:a A:b<end>U:c A:"
    assert await rendered(house, "/api/generate", prompt="c", system="T") == "S:T U:c A:"


async def test_the_template_layer_wins_or_not(build: Callable[..., Any]) -> None:
    """Where a model has both, what was decided when it was read decides."""
    house = await build(
        model("m", template=GO, by_go=True), model("j", template=GO), model("n", template="")
    )

    assert (await rendered(house, "/api/chat", messages=user("x"))).startswith("<user>")
    for name in ("j", "n"):
        text = await rendered(house, "/api/chat", model=name, messages=user("x"))
        assert text.startswith("<|im_start|>user")


async def test_a_request_brings_its_own_template(build: Callable[..., Any]) -> None:
    """Generate takes a Go template in place of the model's, with its system text and examples."""
    house = await build(model("m", system="Own"))
    text = await rendered(house, "/api/generate", prompt="p", template=LEGACY)

    assert text == "S:Own U:p A:"
    ignored = await rendered(house, "/api/chat", messages=user("x"), template=LEGACY)
    assert ignored.startswith("<|im_start|>system\nOwn")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ .Prompt", "template error: template: :1: unclosed action"),
        ("{{ nope }}", 'function "nope" not defined'),
        ("{{ .Prompt.x }}", "can't evaluate field x in type"),
        ("{{ range 999999999 }}x{{ end }}", "template error: the chat template"),
        ("x" * 20_000, "longer than"),
    ],
)
async def test_a_broken_template_of_a_request_is_its_fault(
    build: Callable[..., Any], template: str, words: str
) -> None:
    """A 400 with Go's words, and nothing was loaded for one that cannot even be read."""
    house = await build()
    for extra in ({}, {"_debug_render_only": True}):
        body = {"model": "m", "prompt": "p", "template": template, **extra}
        reply = await ask(house, "POST", "/api/generate", body)
        assert (reply.status, words in reply.json()["error"]) == (400, True)
    if "x }}" not in template and "range" not in template:
        assert house.backend.open_models == 0


async def test_a_broken_template_of_a_model_is_named(build: Callable[..., Any]) -> None:
    """Go's words reach the client; raw prompts and loading still work."""
    house = await build(model("m", template="{{ end }}", chat_template=""))
    body = {"model": "m", "prompt": "p"}
    reply = await ask(house, "POST", "/api/generate", body)

    assert reply.status == 500
    assert reply.json()["error"] == "template: :1: unexpected {{end}}"
    assert house.backend.open_models == 0
    assert (await ask(house, "POST", "/api/generate", body | {"raw": True})).status == 200
    assert (await ask(house, "POST", "/api/generate", {"model": "m"})).status == 200


async def test_a_gap_is_filled_by_template(build: Callable[..., Any]) -> None:
    """A suffix goes through the place the template has for it, system text left out."""
    capable = ("completion", "insert")
    house = await build(
        model("m", template=FIM, chat_template="", capabilities=capable, system="no"), model("n")
    )
    fields = {"prompt": "def f(", "suffix": "return x"}

    assert await rendered(house, "/api/generate", **fields) == "<PRE>def f(<SUF>return x<MID>"
    assert await rendered(house, "/api/generate", prompt="def f(") == "def f("
    refused = await ask(house, "POST", "/api/generate", {"model": "n", **fields})
    assert refused.status == 400
    assert refused.json()["error"] == "registry.ollama.ai/library/n:latest does not support insert"
    assert await rendered(house, "/api/generate", model="n", template=FIM, **fields) == (
        "<PRE>def f(<SUF>return x<MID>"
    )
    no_place = await ask(house, "POST", "/api/generate", {"model": "n", "template": "x", **fields})
    assert (no_place.status, ".Suffix" in no_place.json()["error"]) == (400, True)


async def test_a_go_template_is_told_about_thinking(build: Callable[..., Any]) -> None:
    """A model that can think does unless told otherwise; levels arrive by name."""
    capable = ("completion", "thinking")
    house = await build(model("m", template=THINKER, chat_template="", capabilities=capable))

    async def tail(**fields: Any) -> str:
        text = await rendered(house, "/api/chat", messages=user("x"), **fields)
        return text.rpartition("|")[2]

    assert await tail() == "true medium true"
    assert await tail(think=True) == "true medium true"
    assert await tail(think="low") == "true low true"
    assert await tail(think=False) == "false  true"


async def test_reasoning_is_split_by_the_tags_of_a_go_template(build: Callable[..., Any]) -> None:
    """The texts around ``.Thinking`` are the tags, for raw prompts too."""
    house = await build(
        model("m", template=THINKER, chat_template="", capabilities=("completion", "thinking")),
        script=fixed("<think>hm</think>yes"),
    )
    body = {"model": "m", "prompt": "x", "stream": False}
    for extra in ({}, {"raw": True}):
        reply = (await ask(house, "POST", "/api/generate", body | extra)).json()
        assert (reply["thinking"], reply["response"]) == ("hm", "yes")


async def test_a_renderer_that_is_not_there_is_named(build: Callable[..., Any]) -> None:
    """Without Jinja in the weights there is nothing to render with; with it, that is used."""
    config = Config(renderer="qwen3-coder")
    house = await build(
        model("m", config=config, template="{{ .Prompt }}", chat_template=""),
        model("j", config=config, template="{{ .Prompt }}"),
    )
    refused = await ask(house, "POST", "/api/generate", {"model": "m", "prompt": "x"})

    assert refused.status == 400
    assert 'the renderer "qwen3-coder"' in refused.json()["error"]
    text = await rendered(house, "/api/generate", model="j", prompt="x")
    assert text.startswith("<|im_start|>user")


SAY = [{"role": "user", "content": "x"}]
BARE: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": SAY, "tools": [{"function": {"name": "f"}}], "stream": False},
    "/v1/chat/completions": {"messages": SAY, "tools": [{"function": {"name": "f"}}]},
    "/v1/responses": {"input": "x", "tools": [{"type": "function", "name": "f"}]},
    "/v1/messages": {"messages": SAY, "tools": [{"name": "f"}], "max_tokens": 9},
}


@pytest.mark.parametrize("path", BARE)
async def test_a_tool_may_say_nothing_but_its_name(build: Callable[..., Any], path: str) -> None:
    """In every dialect, also where the template goes through its parameters."""
    walk = "{% for t in tools %}{% for k in t.function.parameters.properties.items() %}"
    shown = walk + "{% endfor %}{% endfor %}<tool_call></tool_call>"
    able = model("m", capabilities=("completion", "tools"), chat_template=shown)
    reply = await ask(await build(able), "POST", path, {"model": "m", **BARE[path]})

    assert reply.status == 200, reply.body
