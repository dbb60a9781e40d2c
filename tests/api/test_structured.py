"""Answers keep their format on every route, whatever the model would rather say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jsonschema
import ollama
import openai
import pydantic
import pytest
import trio

from tests.support.house import ask, model
from trillama.engine.base import DecodeStatus
from trillama.engine.fake import babble, echo_canary, fixed

USER = [{"role": "user", "content": "x"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 1, "maximum": 99},
        "kind": {"enum": ["cat", "dog"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
THINKER = model(
    "m",
    capabilities=("completion", "thinking"),
    chat_template=(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n{% if enable_thinking is false %}<think></think>{% endif %}"
    ),
)
INSIDER = model(
    "m",
    capabilities=("completion", "thinking"),
    chat_template=(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n<think>\n{# until </think> #}"
    ),
)


async def chat(house: Any, **fields: Any) -> Any:
    return await ask(house, "POST", "/api/chat", {"model": "m", "messages": USER} | fields)


async def generate(house: Any, **fields: Any) -> Any:
    return await ask(house, "POST", "/api/generate", {"model": "m", "prompt": "x"} | fields)


def said(reply: Any) -> tuple[str, str, str]:
    """Reasoning, content and reason of a streamed or whole chat."""
    lines = reply.lines()
    assert reply.status == 200, lines
    parts = [line["message"] for line in lines]
    thinking = "".join(part.get("thinking", "") for part in parts)
    return thinking, "".join(part["content"] for part in parts), lines[-1]["done_reason"]


HOT: dict[str, Any] = {"temperature": 2, "top_k": 0, "seed": 7}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("options", [{}, {"temperature": 0}, HOT, {"typical_p": 0.5}])
@pytest.mark.parametrize("script", [babble, fixed("Sure! Here is your JSON"), fixed("")])
async def test_a_model_that_says_something_else_still_keeps_the_schema(
    build: Callable[..., Any], script: Any, options: dict[str, Any], stream: bool
) -> None:
    """Whatever sampler, streamed or whole; complete means complete."""
    house = await build(script=script)
    _, content, reason = said(await chat(house, format=SCHEMA, options=options, stream=stream))

    jsonschema.validate(json.loads(content), SCHEMA)
    assert reason == "stop"


async def test_a_model_that_keeps_it_by_itself_is_left_alone(build: Callable[..., Any]) -> None:
    """Its own blanks included; then it may end."""
    own = '{ "name": "Tom",\n  "age": 3, "kind": "cat" }'
    house = await build(script=fixed(own))
    _, content, _ = said(await chat(house, format=SCHEMA, options={"temperature": 0}))

    assert content == own


async def test_json_is_an_object_on_generate_too(build: Callable[..., Any]) -> None:
    """With the very same words as Ollama."""
    house = await build(script=fixed("[1, 2]"))
    options = {"temperature": 0, "num_predict": 200}
    *_, last = (await generate(house, format="json", options=options, stream=False)).lines()

    assert last["response"].startswith("{")


async def test_expressions_and_grammars_are_options(build: Callable[..., Any]) -> None:
    """Ours, not Ollama's; the end comes when nothing can follow."""
    house = await build(script=babble)
    _, date, _ = said(await chat(house, options={"regex": r"2\d{3}-(0[1-9]|1[0-2])"}))
    _, word, _ = said(await chat(house, options={"grammar": 'root ::= "yes" | "no"'}))

    assert len(date) == 7
    assert word in ("yes", "no")


# -- reasoning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("think", [True, None])
@pytest.mark.parametrize("stream", [True, False])
async def test_the_schema_holds_from_the_end_of_the_reasoning(
    build: Callable[..., Any], think: bool | None, stream: bool
) -> None:
    """Which is left as it is, braces and all."""
    house = await build(THINKER, script=fixed("<think>so {1}</think>\n\nhello"))
    fields = {"format": SCHEMA, "options": {"temperature": 0}, "stream": stream, "think": think}
    thinking, content, reason = said(await chat(house, **fields))

    assert (thinking, reason) == ("so {1}", "stop")
    jsonschema.validate(json.loads(content), SCHEMA)


async def test_reasoning_begun_by_the_prompt_is_followed(build: Callable[..., Any]) -> None:
    """The model only closes it."""
    house = await build(INSIDER, script=fixed("hm {</think>hello"))
    thinking, content, _ = said(await chat(house, format=SCHEMA, options={"temperature": 0}))

    assert thinking == "hm {"
    jsonschema.validate(json.loads(content), SCHEMA)


async def test_without_thinking_the_schema_holds_at_once(build: Callable[..., Any]) -> None:
    """A model that would think nevertheless may not."""
    house = await build(THINKER, script=fixed("<think>no</think>hello"))
    fields = {"format": SCHEMA, "options": {"temperature": 0}, "think": False}
    thinking, content, _ = said(await chat(house, **fields))

    assert thinking == ""
    jsonschema.validate(json.loads(content), SCHEMA)


@pytest.mark.parametrize("who", [THINKER, INSIDER])
async def test_a_model_that_ends_in_its_reasoning_answers_nevertheless(
    build: Callable[..., Any], who: Any
) -> None:
    """An answer without content would not keep the schema."""
    begin = "" if who is INSIDER else "<think>"
    house = await build(who, script=fixed(f"{begin}that is all"))
    thinking, content, reason = said(await chat(house, format=SCHEMA, options={"temperature": 0}))

    assert (thinking, reason) == ("that is all", "stop")
    jsonschema.validate(json.loads(content), SCHEMA)


@pytest.mark.parametrize("think", [True, False, None])
async def test_an_answer_that_is_begun_keeps_the_schema_in_what_is_added(
    build: Callable[..., Any], think: bool | None
) -> None:
    """Behind the words of an assistant there is no reasoning any more."""
    house = await build(THINKER, script=fixed("<think>no</think>hello"))
    begun = [*USER, {"role": "assistant", "content": "Here it is:"}]
    fields = {"format": SCHEMA, "options": {"temperature": 0}, "think": think, "messages": begun}
    thinking, content, _ = said(await chat(house, **fields))

    assert thinking == ""
    jsonschema.validate(json.loads(content), SCHEMA)


CHANNELS = model(
    "m",
    capabilities=("completion", "thinking"),
    chat_template=(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n{# <|channel|>analysis #}"
    ),
)


@pytest.mark.parametrize("think", [True, False, None])
@pytest.mark.parametrize("thoughts", ["", "hm {"])
async def test_channels_hold_reasoning_and_answer_apart(
    build: Callable[..., Any], think: bool | None, thoughts: str
) -> None:
    """A model of channels reasons in one, and the schema holds in the other."""
    analysis = f"<|channel|>analysis<|message|>{thoughts}" if thoughts else ""
    house = await build(CHANNELS, script=fixed(analysis or "hello"))
    fields = {"format": SCHEMA, "options": {"temperature": 0}, "think": think}
    thinking, content, reason = said(await chat(house, **fields))

    assert thinking == (thoughts if think is not False else "")
    jsonschema.validate(json.loads(content), SCHEMA)
    assert reason == "stop"


# -- ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 9, 20])
async def test_an_answer_cut_by_its_limit_says_so(build: Callable[..., Any], limit: int) -> None:
    """Exactly that many tokens, forced ones included, and ``length``."""
    house = await build(script=babble)
    reply = await chat(house, format=SCHEMA, options={"num_predict": limit}, stream=False)
    (whole,) = reply.lines()

    assert (whole["done_reason"], whole["eval_count"]) == ("length", limit)


async def test_stop_strings_still_stop(build: Callable[..., Any]) -> None:
    """Whoever asks for both gets both."""
    house = await build(script=babble)
    _, content, _ = said(await chat(house, format=SCHEMA, options={"stop": ["age"]}))

    assert content.endswith('"')
    assert "age" not in content


async def test_log_probabilities_are_those_of_every_token(build: Callable[..., Any]) -> None:
    """What leaves no choice is computed too, when somebody wants to see it."""
    house = await build(script=babble)
    (whole,) = (await chat(house, format=SCHEMA, logprobs=True, stream=False)).lines()

    assert "".join(e["token"] for e in whole["logprobs"]) == whole["message"]["content"]
    assert len(whole["logprobs"]) == whole["eval_count"]


async def test_forced_tokens_need_no_steps_of_their_own(build: Callable[..., Any]) -> None:
    """A constant of 300 characters takes a dozen decodes, and is counted as 300 tokens."""
    house = await build(script=babble)
    reply = await chat(house, format={"const": "x" * 300}, stream=False)
    (whole,) = reply.lines()
    (context,) = house.backend.contexts

    assert whole["message"]["content"] == '"' + "x" * 300 + '"'
    assert whole["eval_count"] == 302
    assert context.counters.decodes < 20


# -- clients --------------------------------------------------------------------------------------


class Animal(pydantic.BaseModel):
    """What the official clients ask for by a class."""

    name: str = pydantic.Field(max_length=9)
    age: int = pydantic.Field(ge=0, le=30)
    kind: Literal["cat", "dog"]
    friends: list[Annotated[str, pydantic.Field(max_length=5)]] = pydantic.Field(max_length=2)


async def test_ollamas_client_gets_its_class(build: Callable[..., Any]) -> None:
    """From the schema that pydantic writes."""
    house = await build(script=babble)

    def call() -> Any:
        client = ollama.Client(house.url)
        schema = Animal.model_json_schema()
        found = client.chat("m", USER, format=schema, options={"temperature": 1, "seed": 3})
        client._client.close()
        return found.message.content

    with trio.fail_after(20):
        Animal.model_validate_json(await trio.to_thread.run_sync(call))


async def test_openais_client_gets_its_class(build: Callable[..., Any]) -> None:
    """By ``parse``, which sends a strict schema."""
    house = await build(script=babble)

    def call() -> Any:
        with openai.OpenAI(base_url=f"{house.url}/v1", api_key="x") as client:
            return client.chat.completions.parse(
                model="m", messages=USER, response_format=Animal, seed=3
            )

    with trio.fail_after(20):
        found = await trio.to_thread.run_sync(call)
    assert isinstance(found.choices[0].message.parsed, Animal)


# -- company ---------------------------------------------------------------------------------------


async def test_neighbours_keep_their_own_rules(build: Callable[..., Any]) -> None:
    """Schemas, expressions and free answers, all at once."""
    house = await build(script=babble)
    found: dict[int, str] = {}

    async def one(number: int) -> None:
        kinds: list[dict[str, Any]] = [
            {"format": SCHEMA},
            {"options": {"regex": f"{number}-[a-f]{{4}}"}},
            {"options": {"num_predict": 9}},
        ]
        found[number] = said(await chat(house, **kinds[number % 3]))[1]

    async with trio.open_nursery() as nursery:
        for number in range(24):
            nursery.start_soon(one, number)
    for number, content in found.items():
        if number % 3 == 0:
            jsonschema.validate(json.loads(content), SCHEMA)
        elif number % 3 == 1:
            assert content.startswith(f"{number}-")
        else:
            assert len(content) == 9
    await house.until(house.at_rest)


async def test_a_job_that_is_pushed_aside_goes_on_where_it_was(build: Callable[..., Any]) -> None:
    """A pool for two holds twelve, one after the other."""
    house = await build(script=babble, context_length=120, num_parallel=12)
    contents: list[str] = []

    async def one() -> None:
        contents.append(said(await chat(house, format=SCHEMA, options=HOT))[1])

    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(one)
    assert len(contents) == 12
    for content in contents:
        jsonschema.validate(json.loads(content), SCHEMA)


async def test_a_failed_decode_is_made_good(build: Callable[..., Any]) -> None:
    """Nothing the grammar has taken is taken twice."""
    house = await build(script=babble)
    house.hooks.fail[6] = DecodeStatus.INTERRUPTED
    _, content, _ = said(await chat(house, format=SCHEMA))

    jsonschema.validate(json.loads(content), SCHEMA)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"format": {"type": "array", "uniqueItems": True}}, "uniqueItems"),
        ({"format": "yaml"}, 'invalid format: "\\"yaml\\""; expected'),
        ({"options": {"regex": "("}}, "regex: "),
        ({"options": {"grammar": "root = 1"}}, "grammar: "),
        ({"format": "json", "options": {"grammar": 'root ::= "a"'}}, "exclude each other"),
    ],
)
async def test_what_cannot_be_kept_is_a_400(
    build: Callable[..., Any], fields: dict[str, Any], words: str
) -> None:
    """Before a byte is streamed, and nothing is left behind."""
    house = await build()
    reply = await chat(house, **fields)

    assert reply.status == 400
    assert words in reply.json()["error"]
    await house.until(house.at_rest)


async def test_a_bomb_leaves_the_others_alone(build: Callable[..., Any]) -> None:
    """It is refused within two seconds, while a stream goes on."""
    house = await build(script=echo_canary)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_refused, house)
            for _ in range(5):
                text = [{"role": "user", "content": 'Repeat: "fine"'}]
                assert said(await chat(house, messages=text))[1] == "fine"


async def _refused(house: Any) -> None:
    began = trio.current_time()
    bomb = {"regex": "(a{1000}){1000}", "num_predict": 8}
    reply = await chat(house, options=bomb)

    assert reply.status in (200, 400)
    assert trio.current_time() - began < 3
