"""Whatever clients send and models say: refused or rendered, read, in time, and never a crash."""

from __future__ import annotations

import json
import random
import time
import tracemalloc
from typing import Any

import pytest

from tests.support.sdist import templates
from tests.support.transcripts import TOOLS, told
from trillama.base.errors import TrillamaError
from trillama.prompts.manners import manner_of
from trillama.prompts.parsers import choose
from trillama.prompts.parsers.generic import generic
from trillama.prompts.render import ChatTemplate
from trillama.wire.native import chat_turn, read_chat

pytestmark = pytest.mark.slow

FAMILIES = {family.name: family for family in
            [*(row[1] for row in choose._SHOWN), generic("{"), generic("<x>"), generic("f[")]
            if not family.unread}  # fmt: skip
WORDS = ["", "a", "<think>", "</think>", "ü𝄞", "\ud800", "{{ x }}", "{% if %}", "\x00", "'", '"']


WANTS_MORE = {"fireworks-ai-llama-3-firefunction-v2"}
"""Templates that want variables which nobody but their authors gives them."""


def junk(rng: random.Random, depth: int = 3) -> Any:
    """A JSON value of any kind."""
    kind = rng.randrange(7 if depth else 5)
    if kind == 5:
        return [junk(rng, depth - 1) for _ in range(rng.randrange(3))]
    if kind == 6:
        return {rng.choice(WORDS): junk(rng, depth - 1) for _ in range(rng.randrange(3))}
    return [None, rng.random() < 0.5, rng.randint(-9, 9), 1e300, rng.choice(WORDS)][kind]


def schema(rng: random.Random, depth: int = 2) -> dict[str, Any]:
    """A JSON schema that is odd but passes."""
    kinds = ["string", "integer", "number", "boolean", "array", "object", "null", "odd"]
    found: dict[str, Any] = {"type": rng.choice([rng.choice(kinds), rng.sample(kinds, 2)])}
    if depth and rng.random() < 0.5:
        found["properties"] = {w: schema(rng, depth - 1) for w in rng.sample(WORDS, 2)}
        found["anyOf"] = [schema(rng, depth - 1)]
        found["items"] = junk(rng)
    optional = {"description": rng.choice(WORDS), "enum": [junk(rng)], "default": junk(rng)}
    return found | {key: value for key, value in optional.items() if rng.random() < 0.4}


def body(rng: random.Random) -> bytes:
    """A request of odd messages and tools."""
    messages = []
    for _ in range(rng.randrange(1, 6)):
        role = rng.choice(["system", "user", "assistant", "tool", "odd", ""])
        message: dict[str, Any] = {"role": role, "content": rng.choice(WORDS) * rng.randrange(3)}
        if rng.random() < 0.3:
            arguments = {rng.choice(WORDS): junk(rng)}
            message["tool_calls"] = [{"function": {"name": "f", "arguments": arguments}}]
        for key in ("thinking", "tool_name", "tool_call_id"):
            if rng.random() < 0.2:
                message[key] = rng.choice(WORDS)
        messages.append(message)
    tools = [
        {"function": {"name": rng.choice("fg"), "parameters": {
            "properties": {word: schema(rng) for word in rng.sample(WORDS, 2)},
            "required": rng.sample(WORDS, 1)}}}
        for _ in range(rng.randrange(3))
    ]  # fmt: skip
    return json.dumps({"model": "m", "messages": messages, "tools": tools}).encode()


def test_any_conversation_renders_or_is_refused() -> None:
    """With every real template: text, or a 400; never a 500, never a second of work."""
    rng = random.Random("conversations")
    rendered, refused, slowest = 0, 0, 0.0
    wrong: list[Any] = []
    for name, source in templates().items():
        template = ChatTemplate(source, "<s>", "</s>")
        if name in WANTS_MORE:
            continue
        assert manner_of(source, "<s>", "</s>").works, name
        for _ in range(20):
            turn = chat_turn(read_chat(body(rng)))
            start = time.thread_time()
            try:
                template.render(turn.messages, turn.tools, think=rng.choice([None, True, False]))
                rendered += 1
            except TrillamaError as error:
                refused += 1
                wrong += [(name, error)] if error.status != 400 else []
            slowest = max(slowest, time.thread_time() - start)
    print(f"\n{rendered} rendered, {refused} refused, slowest {slowest:.3f} s")  # noqa: T201
    assert wrong == []
    assert slowest < 1


@pytest.mark.parametrize("name", FAMILIES)
def test_long_nonsense_is_read_in_time(name: str) -> None:
    """Marks and brackets by the ten thousand, at once and by tokens: the same, and soon."""
    family = FAMILIES[name]
    rng = random.Random(name)
    marks = [*family.marks, "{", "}", "[", "]", '"', "\\", "<", ">", "(", ":", ",", "a", " ", "\n"]
    texts = ["".join(rng.choices(marks, k=9_000))[:30_000]]
    texts += [mark * (30_000 // len(mark)) for mark in (*family.marks[:2], "{", '{"a":', '"\\')]
    texts += [mark + "{" * 30_000 for mark in family.marks[:1]]
    for text in texts:
        start = time.thread_time()
        whole = told(family.parser(TOOLS), [text])
        pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
        assert told(family.parser(TOOLS), pieces) == whole
        assert time.thread_time() - start < 2, text[:40]


def test_long_nonsense_takes_little_memory() -> None:
    """A quarter of a megabyte of a call that never ends."""
    tracemalloc.start()
    try:
        for name in ("hermes", "qwen3-coder", "harmony"):
            parser = FAMILIES[name].parser(TOOLS)
            for _ in range(5_000):
                parser.push('<tool_call>{"name": "x", "arguments": {"a": "bcdef')
            parser.finish()
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
