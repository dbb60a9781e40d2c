"""Llama 3: the answer is a call, or a program behind a mark."""

from __future__ import annotations

import pytest

from tests.support.transcripts import ADD, NESTED, NOW, WEATHER, Told, check, told, tool
from trillama.prompts.parsers.contract import Tools
from trillama.prompts.parsers.llama3 import FUNCTIONARY, LLAMA3

NESTED_JSON = '{"data": {"x": [1, {"y": "}{]["}], "z": null}, "tags": ["a", "ß\\n"]}'
CASES = {
    "none": ("Hello {you}", Told("Hello {you}")),
    "one": ('{"name": "get_weather", "parameters": {"city": "Zürich"}}', Told("", (WEATHER,))),
    "two": (
        '{"name": "now", "parameters": {}}; {"name": "add", "parameters": {"a": 1, "b": 2.5}}',
        Told("", (NOW, ADD)),
    ),
    "with a type": (
        '{"type": "function", "name": "now", "parameters": {}}', Told("", (NOW,)),
    ),
    "text after": ('{"name": "now", "parameters": {}}\nThere.', Told("There.", (NOW,))),
    "text before": (
        'I call {"name": "now", "parameters": {}}',
        Told('I call {"name": "now", "parameters": {}}'),
    ),
    "nested": (f'{{"name": "save", "parameters": {NESTED_JSON}}}', Told("", (NESTED,))),
    "unicode": (
        '{"name": "get_weather", "parameters": {"city": "Z\\u00fcrich"}}', Told("", (WEATHER,)),
    ),
    "tagged": ('<|python_tag|>{"name": "now", "parameters": {}}', Told("", (NOW,))),
    "built in": ('<|python_tag|>get_weather.call(city="Zürich")', Told("", (WEATHER,))),
    "another format": ('<function=add>{"a": 1, "b": 2.5}</function>', Told("", (ADD,))),
    "truncated": (
        '{"name": "now", "param', Told('{"name": "now", "param', malformed=True),
    ),
    "malformed": (
        '{"name": "now", "parameters": [}',
        Told('{"name": "now", "parameters": [}', malformed=True),
    ),
    "no program": (
        "<|python_tag|>print(1)", Told("<|python_tag|>print(1)", malformed=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_transcripts(case: str) -> None:
    """Each reads as written here, at every split."""
    check(LLAMA3, *CASES[case])


def test_a_program_is_a_call_of_the_tool_that_runs_it() -> None:
    """Where such a tool is offered."""
    tools = Tools([tool("ipython", code="string")])
    code = "x = {1: 2}\nprint(x)"
    found = told(LLAMA3.parser(tools), [f"<|python_tag|>{code}"])

    assert found == Told("", (("ipython", {"code": code}),))


def test_functionary() -> None:
    """Its own tags, one after the other."""
    text = 'Hm <function=now>{}</function>\n<function=add>{"a": 1, "b": 2.5}</function>'
    check(FUNCTIONARY, text, Told("Hm", (NOW, ADD)))
    check(FUNCTIONARY, "<function=now>{</function>", Told("<function=now>{</function>", (), True))
