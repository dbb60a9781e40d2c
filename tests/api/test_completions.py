"""Plain completions, judged by OpenAI's own client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.support.clients import with_openai
from tests.support.house import House, model
from trillama.engine.fake import babble, fixed

TEXT = 'Repeat: "one two"'


async def complete(house: House, prompt: Any = TEXT, **fields: Any) -> Any:
    """A completion by the official client; streamed ones as a list."""

    def work(client: openai.OpenAI) -> Any:
        found = client.completions.create(**{"model": "m", "prompt": prompt} | fields)
        return list(found) if fields.get("stream") else found

    return await with_openai(house, work)


def said(chunks: list[Any], index: int = 0) -> str:
    return "".join(c.text for chunk in chunks for c in chunk.choices if c.index == index)


async def test_a_text_is_gone_on_with(build: Callable[..., Any]) -> None:
    """As it is, without a template; whole and streamed are the same, counts too."""
    house = await build()
    whole = await complete(house)
    *chunks, usage = await complete(house, stream=True, stream_options={"include_usage": True})

    assert whole.choices[0].text == said(chunks) == "one two"
    assert whole.choices[0].finish_reason == chunks[-1].choices[0].finish_reason == "stop"
    assert (whole.object, whole.id[:5]) == ("text_completion", "cmpl-")
    assert whole.usage.prompt_tokens == usage.usage.prompt_tokens == len(TEXT)
    assert whole.usage.completion_tokens == usage.usage.completion_tokens == 8
    assert usage.choices == []


async def test_the_answer_is_shown_as_it_was_said(build: Callable[..., Any]) -> None:
    """Nothing is taken out of it."""
    thinker = model("m", capabilities=("completion", "thinking"))
    house = await build(thinker, script=fixed("<think>hm</think>42"))

    assert (await complete(house)).choices[0].text == "<think>hm</think>42"


async def test_tokens_are_a_prompt_too(build: Callable[..., Any]) -> None:
    """The same text as tokens, or several prompts at once, each with its answers."""
    house = await build()
    tokens = [ord(letter) for letter in TEXT]
    one = await complete(house, tokens)
    many = await complete(house, [tokens, tokens], n=2, stream=True)
    texts = await complete(house, [TEXT, 'Repeat: "three"'], n=2)

    assert one.choices[0].text == "one two"
    assert [said(many, index) for index in range(4)] == ["one two"] * 4
    assert [choice.text for choice in texts.choices] == ["one two"] * 2 + ["three"] * 2
    assert texts.usage.completion_tokens == 2 * 8 + 2 * 6


@pytest.mark.parametrize("prompt", [TEXT, [ord(letter) for letter in TEXT]], ids=("text", "tokens"))
async def test_an_echo_begins_with_the_prompt(build: Callable[..., Any], prompt: Any) -> None:
    """Streamed or not, also when nothing is to follow."""
    house = await build()
    whole = await complete(house, prompt, echo=True)
    chunks = await complete(house, prompt, echo=True, stream=True)
    nothing = await complete(house, prompt, echo=True, max_tokens=0)

    assert whole.choices[0].text == said(chunks) == f"{TEXT}one two"
    assert (nothing.choices[0].text, nothing.choices[0].finish_reason) == (TEXT, "length")


async def test_logprobs_have_four_columns(build: Callable[..., Any]) -> None:
    """Tokens, their values, their rivals, and where each begins; streamed they join."""
    house = await build(script=babble)
    whole = (await complete(house, logprobs=2, max_tokens=5)).choices[0]
    chunks = await complete(house, logprobs=2, max_tokens=5, stream=True)
    columns = [c.logprobs for chunk in chunks for c in chunk.choices if c.logprobs]

    assert "".join(whole.logprobs.tokens) == whole.text
    assert whole.logprobs.text_offset == [0, 1, 2, 3, 4]
    assert all(value <= 0 for value in whole.logprobs.token_logprobs)
    assert {len(top) for top in whole.logprobs.top_logprobs} == {2}
    assert [token for each in columns for token in each.tokens] == whole.logprobs.tokens
    assert [at for each in columns for at in each.text_offset] == whole.logprobs.text_offset


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": [1, -1]}, "prompt"),
        ({"prompt": ["x", 1]}, "prompt[1]"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"logprobs": 21}, "logprobs"),
        ({"n": 5, "prompt": ["x"] * 20}, "prompt"),
        ({"prompt": [1], "suffix": "x"}, "suffix"),
    ],
    ids=str,
)
async def test_what_cannot_be_had_is_named(
    build: Callable[..., Any], fields: dict[str, Any], param: str
) -> None:
    """400, with the field at fault."""
    house = await build()
    with pytest.raises(openai.BadRequestError) as refused:
        await complete(house, **fields)

    assert refused.value.param == param


async def test_a_token_the_model_lacks_is_a_bad_request(build: Callable[..., Any]) -> None:
    """Never a crash."""
    house = await build()
    for fields in ({}, {"echo": True}):
        with pytest.raises(openai.BadRequestError):
            await complete(house, [5, 10**9], **fields)
