"""What is streamed is what is not streamed: in every dialect, for answers of every shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.dialects import DIALECTS
from tests.support.heard import READERS, Heard, documents
from tests.support.house import House, ask, model
from trillama.engine.fake import fixed

ABLE = ("completion", "thinking", "tools")
TEMPLATE = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools><tool_call></tool_call>{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n{% if enable_thinking is false %}<think></think>{% endif %}"
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"type": "function", "function": {"name": "w", "parameters": SCHEMA}}
TOOLS: dict[str, Any] = {
    "chat": FUNCTION,
    "openai chat": FUNCTION,
    "openai choices": FUNCTION,
    "openai responses": {"type": "function", "name": "w", "parameters": SCHEMA},
    "anthropic": {"name": "w", "input_schema": SCHEMA},
}
"""A tool, where a dialect has them."""
LIMITS = {
    "chat": "options.num_predict",
    "generate": "options.num_predict",
    "openai responses": "max_output_tokens",
}
"""The field that ends an answer; ``max_tokens`` elsewhere."""

CALL = '<tool_call>{"name": "w", "arguments": {"city": "Zürich"}}</tool_call>'
ANSWERS = {
    "text": "Zürich – 42 €",
    "nothing": "",
    "thinking": "<think>hm\n\nso</think>\n\n42",
    "thinking without an end": "<think>hm",
    "a call": CALL,
    "all of it": f"<think>hm</think>Let me see.\n{CALL}\n{CALL}",
    "half a mark": "Let me see.<tool_ca",
    "nearly a call": "<tool_cell>{]</tool_cell> 42",
}


def body(dialect: str, limit: int | None, stream: bool) -> dict[str, Any]:
    """A request that offers a tool, and asks for the counts of a stream."""
    found: dict[str, Any] = {"model": "m", "stream": stream, **DIALECTS[dialect][1]}
    if dialect in TOOLS:
        found["tools"] = [TOOLS[dialect]]
    if stream and READERS[dialect].__name__ == "choices":
        found["stream_options"] = {"include_usage": True}
    if dialect == "anthropic":
        found["thinking"] = {"type": "enabled", "budget_tokens": 10}
    if limit is not None:
        name, _, inner = LIMITS.get(dialect, "max_tokens").partition(".")
        found[name] = {inner: limit} if inner else limit
    return found


async def heard(house: House, dialect: str, limit: int | None, stream: bool) -> list[Heard]:
    asked = body(dialect, limit, stream)
    reply = await ask(house, "POST", DIALECTS[dialect][0], asked)
    assert reply.status == 200, reply.body
    return READERS[dialect](documents(reply))


@pytest.mark.parametrize("limit", [None, 12, 40])
@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_stream_says_what_the_whole_says(
    build: Callable[..., Any], answer: str, limit: int | None
) -> None:
    """Content, reasoning, calls, why it ended and what it cost; also where it is cut."""
    able = model("m", capabilities=("completion", "thinking", "tools"), chat_template=TEMPLATE)
    house = await build(able, script=fixed(ANSWERS[answer]), prefix_cache=False)
    for dialect in DIALECTS:
        whole = await heard(house, dialect, limit, stream=False)
        assert await heard(house, dialect, limit, stream=True) == whole, dialect


async def test_the_shapes_are_there(build: Callable[..., Any]) -> None:
    """Each dialect that can tells reasoning, text and calls apart: something was compared."""
    able = model("m", capabilities=("completion", "thinking", "tools"), chat_template=TEMPLATE)
    house = await build(able, script=fixed(ANSWERS["all of it"]), prefix_cache=False)
    for dialect in TOOLS:
        for one in await heard(house, dialect, None, stream=False):
            assert one.thinking == "hm", dialect
            assert one.content.strip() == "Let me see.", dialect
            assert one.calls == [("w", {"city": "Zürich"})] * 2, dialect
