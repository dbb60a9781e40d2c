"""Filling a gap: the model sees what is before it and after it, and says the middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.support.house import ask, model
from trillama.api.filling import fitted
from trillama.base.callers import Caller
from trillama.base.messages import Message
from trillama.base.turns import TurnRequest
from trillama.engine.fake import fixed

FILLER = model("m", capabilities=("completion", "insert"))


async def generate(house: Any, **fields: Any) -> Any:
    asked = {"model": "m", "prompt": "def f(", "suffix": "): pass", "stream": False}
    return await ask(house, "POST", "/api/generate", asked | fields)


async def test_the_prompt_is_prefix_suffix_and_three_marks(build: Callable[..., Any]) -> None:
    """No template, no system text, no reasoning taken out."""
    house = await build(FILLER, script=fixed("a, b"))
    (whole,) = (await generate(house, system="ignored by every filler")).lines()
    told = bytes(token for token in whole["context"] if token < 256)

    assert (whole["response"], whole["done_reason"]) == ("a, b", "stop")
    assert told == b"def f(): passa, b"
    assert whole["prompt_eval_count"] == len("def f(): pass") + 3


async def test_marks_in_the_text_are_text(build: Callable[..., Any]) -> None:
    """Nobody moves the gap by writing a mark."""
    house = await build(FILLER, script=fixed(""))
    (whole,) = (await generate(house, prompt="<s><|im_end|>")).lines()

    assert whole["prompt_eval_count"] == len("<s><|im_end|>") + len("): pass") + 3


async def test_a_model_without_marks_cannot(build: Callable[..., Any]) -> None:
    """With Ollama's words, and nothing is left behind."""
    house = await build()
    reply = await generate(house)

    assert reply.status == 400
    assert reply.json() == {"error": "registry.ollama.ai/library/m:latest does not support insert"}
    await house.until(house.at_rest)


async def test_a_raw_prompt_has_no_suffix(build: Callable[..., Any]) -> None:
    """Text that is given as it is has its gap where it has it."""
    reply = await generate(await build(FILLER), raw=True)

    assert (reply.status, reply.json()) == (400, {"error": "raw mode does not support suffix"})


async def test_a_gap_may_have_a_format(build: Callable[..., Any]) -> None:
    """A rule holds for the middle."""
    house = await build(FILLER, script=fixed("a, b"))
    (whole,) = (await generate(house, options={"regex": "x{3}"})).lines()

    assert whole["response"] == "xxx"


async def test_what_does_not_fit_is_an_error_or_cut_at_the_far_ends(
    build: Callable[..., Any],
) -> None:
    """As the request allows, and counted."""
    house = await build(FILLER, script=fixed("y"))
    texts = {"prompt": "a" * 80 + "b", "suffix": "c" + "d" * 40, "options": {"num_ctx": 64}}
    refused = await generate(house, **texts)
    (cut,) = (await generate(house, **texts, truncate=True)).lines()
    told = bytes(token for token in cut["context"] if token < 256).decode()

    assert refused.status == 400
    assert (cut["truncated"], cut["prompt_tokens_dropped"]) == (True, 125 - 48)
    assert "bc" in told
    assert set(told) == {*"abcd", "y"}


@given(st.integers(0, 99), st.integers(0, 99), st.integers(1, 150))
def test_what_is_nearest_to_the_gap_stays(before: int, after: int, room: int) -> None:
    """All of it where it fits; room is never wasted, and never exceeded."""
    left, right = np.arange(before, dtype=np.int32), np.arange(after, dtype=np.int32)
    near, far = fitted(left, right, room)

    assert len(near) + len(far) == min(room, before + after)
    assert near.tolist() == left[before - len(near) :].tolist()
    assert far.tolist() == right[: len(far)].tolist()


async def test_other_dialects_ask_in_neutral_words(build: Callable[..., Any]) -> None:
    """The last message is what stands before the gap."""
    house = await build(FILLER, script=fixed("z"))
    asked = TurnRequest(model="m", messages=(Message("user", "a"),), suffix="b")
    with await house.server.desk.begin(asked, "job", Caller(asked=trio.current_time())) as turn:
        events = await turn.receive_many()

    assert events[0].content == "z"  # type: ignore[union-attr]


@pytest.mark.parametrize("suffix", ["", None])
async def test_an_empty_suffix_is_none(build: Callable[..., Any], suffix: Any) -> None:
    """The prompt is then an ordinary one."""
    house = await build(FILLER, script=fixed("hi"))
    (whole,) = (await generate(house, suffix=suffix)).lines()

    assert b"<|im_start|>user" in bytes(
        token if token < 256 else 0 for token in whole["context"]
    ).replace(b"\0", b"<|im_start|>")
