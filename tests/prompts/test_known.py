"""The well-known formats: what they print, which Jinja templates they stand for, what ends a turn.

``known.jsonl`` holds the expected prompts, written down from the formats' public descriptions.
"""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from trillama.base.errors import BadRequest
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.prompts.gotemplate.chat import GoChatTemplate
from trillama.prompts.jinja import render_template
from trillama.prompts.known import LIMIT, KnownTemplate, detect_template, is_known, known_templates
from trillama.prompts.known.distance import distance

KNOWN = known_templates()
ASK = Message("user", "Hi")
TURNS = [ASK, Message("assistant", "Hello."), Message("user", "Why?")]
CALL = ToolCall(ToolFunction("weather", {"city": "Bern"}))
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Get it",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Where"}},
            "required": ["city"],
        },
    },
}
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "user": {"messages": [ASK]},
    "turns": {"messages": TURNS},
    "system": {"messages": [Message("system", "Be brief."), *TURNS]},
    "tools": {"messages": [Message("system", "Be brief."), ASK], "tools": [TOOL]},
    "result": {
        "messages": [
            Message("user", "Weather?"),
            Message("assistant", "", thinking="Hm.", tool_calls=(CALL,)),
            Message("tool", "sunny", tool_name="weather"),
        ],
        "tools": [TOOL],
        "think": True,
    },
    "no thinking": {"messages": [ASK], "think": False},
}
LINES = (Path(__file__).parent / "known.jsonl").read_text("utf-8").splitlines()
EXPECTED = [tuple(json.loads(line)) for line in LINES]
END_OF_TEXT = {"starcoder2-instruct": "<|endoftext|>"}


@pytest.mark.parametrize(("name", "conversation", "text"), EXPECTED)
def test_a_format_prints_what_its_model_was_trained_with(
    name: str, conversation: str, text: str
) -> None:
    """Byte for byte, the begin token apart, which the tokeniser adds."""
    found = GoChatTemplate(KNOWN[name].source).render(**CONVERSATIONS[conversation])
    assert found == text


def test_every_format_is_tried_with_three_conversations() -> None:
    """Twenty formats at least; those with tools and thinking are tried with them too."""
    assert len(KNOWN) >= 20
    for name, known in KNOWN.items():
        tried = {conversation for one, conversation, _ in EXPECTED if one == name}
        template = GoChatTemplate(known.source)
        wanted = {"user", "turns", "system"}
        wanted |= {"tools", "result"} if template.uses_tools else set()
        wanted |= {"no thinking"} if template.thinks else set()
        assert wanted <= tried, name
        assert known.stop


PAIRS = [(known, text) for known in KNOWN.values() for text in known.jinja]


@pytest.mark.parametrize("conversation", ["user", "turns", "system"])
@pytest.mark.parametrize(
    ("known", "jinja"), PAIRS, ids=[f"{k.name}-{k.jinja.index(text)}" for k, text in PAIRS]
)
def test_a_format_prints_what_its_jinja_prints(
    known: KnownTemplate, jinja: str, conversation: str
) -> None:
    """The same text for every conversation that the Jinja template accepts and shows whole."""
    messages = CONVERSATIONS[conversation]["messages"]
    variables = {
        "messages": [{"role": one.role, "content": one.content} for one in messages],
        "bos_token": "<s>",
        "eos_token": END_OF_TEXT.get(known.name, "</s>"),
        "add_generation_prompt": True,
    }
    try:
        text = render_template(jinja, variables)
    except BadRequest:
        assert conversation == "system"
        return
    if "Be brief." in text or conversation != "system":
        assert GoChatTemplate(known.source).render(messages) == text.removeprefix("<s>")


@pytest.mark.parametrize(
    ("known", "jinja"), PAIRS, ids=[f"{k.name}-{k.jinja.index(text)}" for k, text in PAIRS]
)
def test_a_jinja_template_is_recognised(known: KnownTemplate, jinja: str) -> None:
    """Each of the table as what it is, with a few edits in places that are not its marks too."""
    assert detect_template(jinja) is known
    assert detect_template("{# licence #}" + jinja + "\n") is known
    assert detect_template(jinja.replace("message['content']", "m.content")[:-1]) in (known, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "{{ messages }}" * 30,
        "{% for m in messages %}{{ '<<' + m['role'] + '>>' + m['content'] }}{% endfor %}",
        "x" * 100_000,
    ],
)
def test_a_stranger_is_not_recognised(text: str) -> None:
    """What is far from all, or near but without the marks of the format, stays unknown."""
    assert detect_template(text) is None


def plain_distance(one: str, other: str) -> int:
    """The textbook's table."""
    row = list(range(len(other) + 1))
    for at, left in enumerate(one, 1):
        before, row = row, [at]
        for there, right in enumerate(other):
            row.append(min(before[there + 1] + 1, row[-1] + 1, before[there] + (left != right)))
    return row[-1]


def test_the_distance_is_levenshteins() -> None:
    """Equal to the textbook's for a thousand pairs, and capped at the limit."""
    random_text = functools.partial(random.Random(7).choices, "abé")
    lengths = random.Random(8)
    for _ in range(1000):
        one, other = ("".join(random_text(k=lengths.randrange(14))) for _ in range(2))
        assert distance(one, other, LIMIT) == plain_distance(one, other)
        assert distance(one, other, 4) == min(4, plain_distance(one, other))


def test_a_template_of_the_table_is_known() -> None:
    """By its whole text."""
    assert is_known(KNOWN["chatml"].source)
    assert not is_known("{{ .Prompt }}")
