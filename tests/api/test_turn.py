"""The one path of every answer, asked in neutral words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.support.house import House, model
from trillama.api.answering import read_whole
from trillama.base.callers import Caller
from trillama.base.errors import BadRequest, PromptTooLong, Unsupported
from trillama.base.messages import Message
from trillama.base.turns import Finished, Piece, TurnRequest
from trillama.engine.fake import babble, fixed

THINKER = model(
    "m",
    capabilities=("completion", "thinking"),
    chat_template=(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n{% if enable_thinking is false %}<think></think>{% endif %}"
    ),
)


async def answer(house: House, **fields: Any) -> tuple[Piece, Finished]:
    asked = {"model": "m", "messages": (Message("user", "x"),)} | fields
    with await house.server.desk.begin(
        TurnRequest(**asked), "job", Caller(asked=trio.current_time())
    ) as turn:
        return await read_whole(turn)


async def test_a_verbatim_answer_is_shown_as_it_was_said(build: Callable[..., Any]) -> None:
    """Nobody takes the reasoning out of it."""
    house = await build(THINKER, script=fixed("<think>hm</think>42"))
    parted, _ = await answer(house)
    verbatim, _ = await answer(house, verbatim=True)

    assert (parted.thinking, parted.content) == ("hm", "42")
    assert (verbatim.thinking, verbatim.content) == ("", "<think>hm</think>42")


async def test_tokens_of_reasoning_are_counted(build: Callable[..., Any]) -> None:
    """The end mark of the reasoning counts with what follows it, or with neither."""
    house = await build(THINKER, script=fixed("<think>hmhm</think>42"))
    _, end = await answer(house)
    _, verbatim = await answer(house, verbatim=True)

    assert len("<think>hmhm") - 1 <= end.thinking_tokens <= len("<think>hmhm</think>")
    assert verbatim.thinking_tokens == 0


async def test_the_end_tells_the_stop_string(build: Callable[..., Any]) -> None:
    """Which of them it was; "" where the model itself ended."""
    house = await build(script=fixed("one two three"))
    _, free = await answer(house)
    _, stopped = await answer(house, options={"stop": ["zero", "two"]})

    assert (free.stop, stopped.stop) == ("", "two")


async def test_biases_reach_the_sampler(build: Callable[..., Any]) -> None:
    """A token that is favoured enough is all there is; one the model has not is refused."""
    house = await build(script=babble)
    said, _ = await answer(house, options={"logit_bias": {"90": 100}, "num_predict": 3})

    assert said.content == "ZZZ"


async def test_pictures_are_refused_by_name(build: Callable[..., Any]) -> None:
    """Until a model here can see."""
    house = await build()
    with pytest.raises(Unsupported, match="images"):
        await answer(house, messages=(Message("user", "x", images=(b"png",)),))


async def test_a_prompt_may_be_tokens(build: Callable[..., Any]) -> None:
    """They reach the model as they are; tokens it does not have are refused."""
    house = await build()
    told = tuple(b'Repeat: "abc"')
    said, end = await answer(house, messages=(), raw_tokens=told)

    assert (said.content, end.usage.prompt_tokens) == ("abc", len(told))
    for wrong in (-1, 260, 10**30):
        with pytest.raises(BadRequest, match=r"prompt holds a token outside 0\.\.259"):
            await answer(house, messages=(), raw_tokens=(1, wrong))


async def test_a_prompt_of_tokens_is_cut_only_on_demand(build: Callable[..., Any]) -> None:
    """Like any other prompt."""
    house = await build()
    asked: dict[str, Any] = {"messages": (), "raw_tokens": (65,) * 50, "options": {"num_ctx": 40}}
    with pytest.raises(PromptTooLong):
        await answer(house, **asked)
    _, end = await answer(house, **asked, truncate=True)

    assert (end.dropped, end.usage.prompt_tokens) == (20, 30)
