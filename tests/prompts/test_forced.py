"""``tool_choice`` as a grammar: only calls of the right tools can be written, and they are read."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from tests.support.transcripts import told, tool
from trillama.base.constraints import Constraint
from trillama.base.errors import BadRequest, Unsupported
from trillama.base.turns import ToolChoice, ToolMode
from trillama.engine.fake_vocab import FakeVocabulary
from trillama.engine.grammar import GrammarCompiler
from trillama.prompts.parsers import choose
from trillama.prompts.parsers.contract import Tools
from trillama.prompts.parsers.envelope import Envelope
from trillama.prompts.parsers.family import Family
from trillama.prompts.parsers.forced import bound, forced
from trillama.prompts.parsers.gemma import GEMMA4
from trillama.prompts.parsers.generic import generic
from trillama.prompts.parsers.hermes import HERMES

REQUIRED = ToolChoice(ToolMode.REQUIRED)
OFFERED = [
    tool("get_weather", city="string", days="integer"),
    tool("save", data={"type": "object", "properties": {"x": {"$ref": "#/$defs/x"}}}, how="string"),
]
OFFERED[0]["function"]["parameters"]["required"] = ["city"]
OFFERED[1]["function"]["parameters"] |= {"$defs": {"x": {"type": "array"}}, "required": ["data"]}
WEATHER = ("get_weather", {"city": 'Z "ü" </x>\n}', "days": 3})
SAVE = ("save", {"data": {"x": [1, "]"]}, "how": "well"})
FAMILIES = {
    family.name: family
    for family in [*(row[1] for row in choose._SHOWN), *choose._NAMED.values(), generic("{"),
                   generic("<x>"), generic("[TOOL] [")]
    if family.envelopes
}  # fmt: skip


@functools.lru_cache(maxsize=1)
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeVocabulary())


def spelled(envelope: Envelope, calls: list[tuple[str, dict[str, Any]]]) -> str:
    """What a model would write."""
    written = []
    for name, arguments in calls:
        body = json.dumps(arguments, ensure_ascii=False)
        if envelope.key:
            body = "".join(
                envelope.key.replace("{key}", key)
                + (value if isinstance(value, str) else json.dumps(value))
                + envelope.value_end
                for key, value in arguments.items()
            )
        before = envelope.before.replace("{name}", name).replace("{at}", "0")
        written.append(before + body + envelope.after)
    return envelope.lead + (envelope.joint or "").join(written) + envelope.trail


def accepts(rule: Constraint | None, text: str) -> bool:
    """Whether an answer may be ``text``."""
    assert rule is not None
    vocabulary = FakeVocabulary()
    matcher = compiler().matcher(rule)
    for token in vocabulary.tokenize(text, parse_special=False).tolist():
        if matcher.take(token) < 0:
            return False
    return matcher.done or matcher.take(vocabulary.eos) >= 0


@pytest.mark.parametrize("name", FAMILIES)
def test_forced_calls_are_read(name: str) -> None:
    """What a family's grammar allows, its parser reads; what is no call is not allowed."""
    family = FAMILIES[name]
    rule = forced(family, OFFERED, REQUIRED, {})
    for envelope in family.envelopes:
        several = [[WEATHER, SAVE]] if envelope.joint is not None else []
        for calls in ([WEATHER], [SAVE], *several):
            text = spelled(envelope, calls)
            assert accepts(rule, text), text
            assert told(family.parser(Tools(OFFERED)), [text]).calls == tuple(calls)
        for wrong in (
            [("get_weather", {"days": 3})],
            [("get_weather", {"city": "x", "more": 1})],
            [("get_weather", {"city": "x", "days": "many"})],
            [("other", {})],
        ):
            assert not accepts(rule, spelled(envelope, wrong)), wrong
    assert not accepts(rule, "Hello")


def test_one_call_where_more_are_not_wanted() -> None:
    """Without parallel calls, or with a name, there is exactly one."""
    two = spelled(HERMES.envelopes[0], [WEATHER, WEATHER])
    one = spelled(HERMES.envelopes[0], [WEATHER])
    named = ToolChoice(ToolMode.NAMED, "get_weather")

    assert accepts(forced(HERMES, OFFERED, REQUIRED, {}), two)
    for rule in (
        forced(HERMES, OFFERED, REQUIRED, {}, parallel=False),
        forced(HERMES, OFFERED, named, {}),
    ):
        assert accepts(rule, one)
        assert not accepts(rule, two)
    assert not accepts(forced(HERMES, OFFERED, named, {}), spelled(HERMES.envelopes[0], [SAVE]))


def test_marks_that_are_control_tokens_go_by_id() -> None:
    """A control token has no text to match."""
    family = Family("x", envelopes=(Envelope("<|im_start|>{name}:", "<|im_end|>"),))
    vocabulary = FakeVocabulary()
    rule = forced(family, OFFERED[:1], REQUIRED, {"<|im_start|>": 258, "<|im_end|>": 259})
    matcher = compiler().matcher(rule)  # type: ignore[arg-type]
    text = '<|im_start|>get_weather:{"city": "x"}'

    assert [matcher.take(token) for token in vocabulary.tokenize(text).tolist()].count(-1) == 0


def test_free_choices_have_no_rule() -> None:
    """Auto and none leave the answer free."""
    assert forced(HERMES, OFFERED, ToolChoice(), {}) is None
    assert forced(HERMES, [], ToolChoice(ToolMode.NONE), {}) is None


@pytest.mark.parametrize("name", FAMILIES)
def test_bound_calls_are_read(name: str) -> None:
    """A free answer may say anything; a call that shows itself by a mark is one of the tools'."""
    family = FAMILIES[name]
    rule = bound(family, OFFERED, {})
    marked = [
        one
        for one in family.envelopes
        if not one.thought and (one.lead or one.before).startswith(family.openings or "\0")
    ]
    if rule is None:
        assert not marked
        return
    assert accepts(rule, "Hello < ü\n{[")
    for envelope in marked:
        for calls in ([WEATHER], [SAVE]):
            text = spelled(envelope, calls)
            assert accepts(rule, text), text
            assert accepts(rule, f"Well, {text}")
            assert accepts(rule, f"{text}\n{text}"), text
            assert told(family.parser(Tools(OFFERED)), [text]).calls == tuple(calls)
        for wrong in (
            [("get_weather", {"days": 3})],
            [("get_weather", {"city": "x", "more": 1})],
            [("other", {})],
        ):
            assert not accepts(rule, f"Hello {spelled(envelope, wrong)}"), wrong


CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LOOSE: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "no parameters": ({}, {}, {"city": "x"}),
    "nothing in them": ({"parameters": {}}, {}, {"city": "x"}),
    "null": ({"parameters": None}, {}, {"city": "x"}),
    "no type": ({"parameters": {"properties": CITY["properties"]}}, {"city": "x"}, {"more": 1}),
    "or null": ({"parameters": CITY | {"type": ["object", "null"]}}, {"city": "x"}, {}),
    "null members": (
        {"parameters": CITY | {"$defs": None, "additionalProperties": None}}, {"city": "x"}, {},
    ),
    "a reference": (
        {"parameters": {"$ref": "#/definitions/A~1b", "definitions": {"A/b": CITY}}},
        {"city": "x"},
        {"city": "x", "more": 1},
    ),
    "all of": ({"parameters": {"allOf": [CITY]}}, {"city": "x"}, {}),
    "any of": ({"parameters": {"anyOf": [CITY, {"type": "null"}]}}, {"city": "x"}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", LOOSE)
def test_arguments_are_an_object_whatever_a_definition_says(case: str) -> None:
    """What is left out, or said in a roundabout way; a text, a list or null are no arguments."""
    definition, right, wrong = LOOSE[case]
    offered = [{"type": "function", "function": {"name": "f", **definition}}]
    strict, free = forced(HERMES, offered, REQUIRED, {}), bound(HERMES, offered, {})
    call = '<tool_call>\n{"name": "f", "arguments": %s}\n</tool_call>'

    for rule in (strict, free):
        assert accepts(rule, call % json.dumps(right))
        for value in ("text", [1], None, 1):
            assert not accepts(rule, call % json.dumps(value)), value
    assert not accepts(strict, call % json.dumps(wrong))


def test_keys_behind_a_reference_are_known() -> None:
    """Where a family writes each argument by itself, and where its values are read."""
    schema = {"$ref": "#/$defs/A", "$defs": {"A": CITY}}
    offered = [{"type": "function", "function": {"name": "get_weather", "parameters": schema}}]
    call = ("get_weather", {"city": "5"})

    for family in FAMILIES.values():
        rule = forced(family, offered, REQUIRED, {})
        for envelope in family.envelopes:
            text = spelled(envelope, [call])
            assert accepts(rule, text), text
            assert told(family.parser(Tools(offered)), [text]).calls == (call,)


def test_nothing_is_bound_where_no_mark_shows_a_call() -> None:
    """Bare JSON may be an answer; and without tools there is no call."""
    assert bound(generic("{"), OFFERED, {}) is None
    assert bound(HERMES, [], {}) is None


def test_what_cannot_be_had_is_refused() -> None:
    """No tools, an unknown name, a family whose format nobody writes."""
    with pytest.raises(BadRequest, match="needs tools"):
        forced(HERMES, [], REQUIRED, {})
    with pytest.raises(BadRequest, match='"other", which is none of the tools'):
        forced(HERMES, OFFERED, ToolChoice(ToolMode.NAMED, "other"), {})
    with pytest.raises(Unsupported, match="tool_choice for tool calls in the format of gemma4"):
        forced(GEMMA4, OFFERED, REQUIRED, {})
