"""Models of which only the tag of a call is known, or not even that."""

from __future__ import annotations

import pytest

from tests.support.transcripts import ADD, NESTED, NOW, TOOLS, WEATHER, Told, check, told
from trillama.prompts.parsers.contract import Tools
from trillama.prompts.parsers.generic import generic

NESTED_JSON = '{"data": {"x": [1, {"y": "}{]["}], "z": null}, "tags": ["a", "ß\\n"]}'
BARE = {
    "none": ("Hello { there }", Told("Hello { there }")),
    "one": ('{"name": "get_weather", "arguments": {"city": "Zürich"}}', Told("", (WEATHER,))),
    "two": (
        '{"name": "now"}\n{"name": "add", "parameters": {"a": 1, "b": 2.5}}',
        Told("", (NOW, ADD)),
    ),
    "two in an array": (
        ' [{"name": "now"}, {"name": "add", "arguments": {"a": 1, "b": 2.5}}] ',
        Told("", (NOW, ADD)),
    ),
    "text after": ('{"name": "now"}; and so on', Told("and so on", (NOW,))),
    "text before": ('So: {"name": "now"}', Told('So: {"name": "now"}')),
    "nested": ('{"name": "save", "arguments": ' + NESTED_JSON + "}", Told("", (NESTED,))),
    "unicode": (
        '{"name": "get_weather", "arguments": {"city": "Z\\u00fcrich"}}',
        Told("", (WEATHER,)),
    ),
    "an answer in JSON": ('{"name": "Ada", "age": 36}', Told('{"name": "Ada", "age": 36}')),
    "a JSON answer that goes on": ('{"a": 1}\n\nHi', Told('{"a": 1}\n\nHi')),
    "truncated": (
        '{"name": "now", "arguments": {"x',
        Told('{"name": "now", "arguments": {"x', malformed=True),
    ),
    "a truncated answer": ('{"a": [1, 2', Told('{"a": [1, 2')),
    "malformed": (
        '{"name": "now", "arguments": {x}}',
        Told('{"name": "now", "arguments": {x}}', malformed=True),
    ),
}
TAGGED = {
    "fence": ('Hm\n```json\n{"name": "now"}\n```\nOk', "```json", Told("HmOk", (NOW,))),
    "square": ('[TOOL_CALLS] [{"name": "now"}]', "[TOOL_CALLS] [", Told("", (NOW,))),
    "closed square": ('[CALL]{"name": "now"}[/CALL]x', "[CALL]", Told("x", (NOW,))),
    "array": (
        'functools[{"name": "now"}, {"name": "now"}]', "functools[", Told("", (NOW, NOW)),
    ),
    "name first": ('<call>add\n```json\n{"a": 1, "b": 2.5}\n', "<call>", Told("", (ADD,))),
    "no JSON": ("<call>" + "x" * 300, "<call>", Told("<call>" + "x" * 300, malformed=True)),
    "cut": ('<call>{"name"', "<call>", Told('<call>{"name"', malformed=True)),
    "none": ("[TOOL but no more", "[TOOL_CALLS]", Told("[TOOL but no more")),
}  # fmt: skip


@pytest.mark.parametrize("case", BARE)
def test_calls_without_a_tag(case: str) -> None:
    """JSON is a call only at the beginning, and only where it names a tool that was offered."""
    check(generic("{"), *BARE[case])


@pytest.mark.parametrize("case", TAGGED)
def test_calls_behind_a_tag(case: str) -> None:
    """What follows the tag is read as the models write it: objects, arrays, a name before them."""
    text, tag, wanted = TAGGED[case]
    check(generic(tag), text, wanted)


def test_without_tools_all_is_content() -> None:
    """A request that offers nothing gets its text unread."""
    text = '{"name": "now"} <tool_call>{"name": "now"}</tool_call>'
    assert told(generic("<tool_call>").parser(Tools()), [text]) == Told(text)
    assert told(generic("{").parser(TOOLS), [text[:15]]) == Told("", (NOW,))
