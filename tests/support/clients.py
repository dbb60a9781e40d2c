"""Official clients of other dialects, aimed at a house. Their calls run in worker threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import anthropic
import openai
import trio

from tests.support.house import House

T = TypeVar("T")


async def with_openai(house: House, work: Callable[[openai.OpenAI], T]) -> T:
    """What ``work`` makes of OpenAI's client, which retries nothing here."""

    def call() -> T:
        with openai.OpenAI(api_key="any", base_url=f"{house.url}/v1", max_retries=0) as client:
            return work(client)

    with trio.fail_after(20):
        return await trio.to_thread.run_sync(call)


async def with_anthropic(house: House, work: Callable[[anthropic.Anthropic], T]) -> T:
    """The same with Anthropic's."""

    def call() -> T:
        with anthropic.Anthropic(api_key="any", base_url=house.url, max_retries=0) as client:
            return work(client)

    with trio.fail_after(20):
        return await trio.to_thread.run_sync(call)


def said(chunks: list[Any], field: str = "content", index: int = 0) -> str:
    """What the deltas of a streamed chat join to."""
    return "".join(
        getattr(choice.delta, field, None) or ""
        for chunk in chunks
        for choice in chunk.choices
        if choice.index == index
    )
