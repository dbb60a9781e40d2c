"""Hermes and Qwen 2.5/3: ``<tool_call>`` with JSON."""

from __future__ import annotations

import pytest

from tests.support.transcripts import ADD, NESTED, NOW, WEATHER, Told, check
from trillama.prompts.parsers.hermes import HERMES

CASES = {
    "none": ("Hello < there\n", Told("Hello < there\n")),
    "one": (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>',
        Told("", (WEATHER,)),
    ),
    "two": (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2.5}}\n</tool_call>\n',
        Told("", (WEATHER, ADD)),
    ),
    "text around": (
        'Let me look.\n\n<tool_call>{"name": "now", "arguments": {}}</tool_call>\n\nDone. ',
        Told("Let me look.Done. ", (NOW,)),
    ),
    "nested": (
        '<tool_call>{"name": "save", "arguments": {"data": {"x": [1, {"y": "}{]["}], "z": null},'
        ' "tags": ["a", "\\u00df\\n"]}}</tool_call>',
        Told("", (NESTED,)),
    ),
    "unicode": (
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Z\\u00fcrich"}}</tool_call>',
        Told("", (WEATHER,)),
    ),
    "closing tag in a string": (
        '<tool_call>{"name": "f", "arguments": {"x": "</tool_call> \\" {"}}</tool_call>',
        Told("", (("f", {"x": '</tool_call> " {'}),)),
    ),
    "not closed": ('<tool_call>{"name": "now", "arguments": {}}', Told("", (NOW,))),
    "the next one instead of a close": (
        '<tool_call>{"name": "now"}\n<tool_call>{"name": "now"}</tool_call>',
        Told("", (NOW, NOW)),
    ),
    "arguments as a string": (
        '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": 2.5}"}</tool_call>',
        Told("", (ADD,)),
    ),
    "parameters": (
        '<tool_call>{"name": "add", "parameters": {"a": 1, "b": 2.5}}</tool_call>',
        Told("", (ADD,)),
    ),
    "truncated": (
        'Hm <tool_call>\n{"name": "add", "argu',
        Told('Hm <tool_call>\n{"name": "add", "argu', malformed=True),
    ),
    "truncated in the mark": ("Hm <tool_c", Told("Hm <tool_c")),
    "malformed": (
        "<tool_call>{'name': 'now'}</tool_call> Oh",
        Told("<tool_call>{'name': 'now'}</tool_call> Oh", malformed=True),
    ),
    "no JSON": (
        "Use <tool_call> like this",
        Told("Use <tool_call> like this", malformed=True),
    ),
    "no name": (
        '<tool_call>{"arguments": {}}</tool_call>',
        Told('<tool_call>{"arguments": {}}</tool_call>', malformed=True),
    ),
    "arguments of no object": (
        '<tool_call>{"name": "now", "arguments": [1]}</tool_call>',
        Told('<tool_call>{"name": "now", "arguments": [1]}</tool_call>', malformed=True),
    ),
    "one broken, one good": (
        '<tool_call>{"name"}</tool_call>\n<tool_call>{"name": "now"}</tool_call>',
        Told('<tool_call>{"name"}</tool_call>', (NOW,), malformed=True),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_transcripts(case: str) -> None:
    """Each reads as written here, at every split."""
    check(HERMES, *CASES[case])
