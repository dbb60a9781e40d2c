"""Golden transcripts of every family, from the public descriptions of their formats."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transcripts import ADD, NESTED, NOW, TOOLS, WEATHER, Told, check, cut, told
from trillama.prompts.parsers.command_r import COMMAND_R, COMMAND_R7B
from trillama.prompts.parsers.deepseek import DEEPSEEK, DEEPSEEK_DSML
from trillama.prompts.parsers.family import Family
from trillama.prompts.parsers.gemma import FUNCTION_GEMMA, GEMMA4
from trillama.prompts.parsers.glm import GLM
from trillama.prompts.parsers.granite import APERTUS, FIREFUNCTION, GRANITE, NEMOTRON, TOOL_CALLS
from trillama.prompts.parsers.kimi import KIMI, SOLAR
from trillama.prompts.parsers.minimax import MINIMAX
from trillama.prompts.parsers.mistral import MISTRAL
from trillama.prompts.parsers.olmo import LFM2, OLMO
from trillama.prompts.parsers.qwen_coder import QWEN_CODER, SEED

DATA = '{"x": [1, {"y": "}{]["}], "z": null}'
TAGS = '["a", "ß\\n"]'
NESTED_JSON = f'{{"data": {DATA}, "tags": {TAGS}}}'
FENCE = "\n```json\n{}\n```"
KIMI_CALL = "<|tool_call_begin|>functions.{}:{}<|tool_call_argument_begin|>{}<|tool_call_end|>"


@dataclass(frozen=True)
class Golden:
    """What a family writes.

    Attributes:
        one, two: one call of WEATHER; calls of WEATHER and ADD.
        nested: a call of NESTED.
        empty: a call of NOW.
        malformed: begun as a call, and none.
        ids: of ``two``, where the family writes them.
    """

    one: str
    two: str
    nested: str
    empty: str
    malformed: tuple[str, ...]
    ids: tuple[str, ...] = ()


FAMILIES: dict[str, tuple[Family, Golden]] = {
    "qwen3-coder": (
        QWEN_CODER,
        Golden(
            "<tool_call>\n<function=get_weather>\n<parameter=city>\nZürich\n</parameter>\n"
            "</function>\n</tool_call>",
            "<tool_call>\n<function=get_weather>\n<parameter=city>\nZürich\n</parameter>\n"
            "</function>\n</tool_call>\n<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>"
            "\n<parameter=b>\n2.5\n</parameter>\n</function>\n</tool_call>",
            f"<tool_call>\n<function=save>\n<parameter=data>\n{DATA}\n</parameter>\n"
            f"<parameter=tags>\n{TAGS}\n</parameter>\n</function>\n</tool_call>",
            "<tool_call>\n<function=now>\n</function>\n</tool_call>",
            ("<tool_call>\n<function=now\n</tool_call>", "<tool_call>now</tool_call>"),
        ),
    ),
    "qwen3-coder without tool_call": (
        QWEN_CODER,
        Golden(
            "<function=get_weather>\n<parameter=city>\nZürich\n</parameter>\n</function>",
            "<function=get_weather>\n<parameter=city>\nZürich\n</parameter>\n</function>\n"
            "</tool_call>\n<function=add><parameter=a>1</parameter><parameter=b>2.5</parameter>"
            "</function>",
            f"<function=save><parameter=data>{DATA}</parameter><parameter=tags>{TAGS}</parameter>"
            "</function>",
            '<tool_call>{"name": "now", "arguments": {}}</tool_call>',
            ("<function=now>what</function>", "<function=now><parameter=a></function>"),
        ),
    ),
    "seed": (
        SEED,
        Golden(
            "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Zürich</parameter>\n"
            "</function>\n</seed:tool_call>",
            "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Zürich</parameter>\n"
            "</function>\n<function=add>\n<parameter=a>1</parameter>\n<parameter=b>2.5</parameter>"
            "\n</function>\n</seed:tool_call>",
            f"<seed:tool_call><function=save><parameter=data>{DATA}</parameter>"
            f"<parameter=tags>{TAGS}</parameter></function></seed:tool_call>",
            "<seed:tool_call><function=now></function></seed:tool_call>",
            ("<seed:tool_call></seed:tool_call>", "<seed:tool_call><function=></seed:tool_call>"),
        ),
    ),
    "mistral, array": (
        MISTRAL,
        Golden(
            '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Zürich"}}]',
            '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Zürich"}, "id": '
            '"a23456789"}, {"name": "add", "arguments": {"a": 1, "b": 2.5}, "id": "b23456789"}]',
            f'[TOOL_CALLS][{{"name": "save", "arguments": {NESTED_JSON}}}]',
            '[TOOL_CALLS][{"name": "now", "arguments": {}}]',
            ("[TOOL_CALLS][{now}]", '[TOOL_CALLS][{"arguments": {}}]'),
            ids=("a23456789", "b23456789"),
        ),
    ),
    "mistral, name": (
        MISTRAL,
        Golden(
            '[TOOL_CALLS]get_weather[ARGS]{"city": "Zürich"}',
            '[TOOL_CALLS]get_weather[CALL_ID]a23456789[ARGS]{"city": "Zürich"}'
            '[TOOL_CALLS]add[CALL_ID]b23456789[ARGS]{"a": 1, "b": 2.5}',
            f"[TOOL_CALLS]save[ARGS]{NESTED_JSON}",
            "[TOOL_CALLS]now[ARGS]{}",
            ("[TOOL_CALLS]now[ARGS]{x}", '[TOOL_CALLS][ARGS]{"a": 1}'),
            ids=("a23456789", "b23456789"),
        ),
    ),
    "deepseek v3": (
        DEEPSEEK,
        Golden(
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather"
            + FENCE.format('{"city": "Zürich"}')
            + "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather"
            + FENCE.format('{"city": "Zürich"}')
            + "<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>add"
            + FENCE.format('{"a": 1, "b": 2.5}')
            + "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>save"
            + FENCE.format(NESTED_JSON)
            + "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "<｜tool▁call▁begin｜>function<｜tool▁sep｜>now"
            + FENCE.format("{}")
            + "<｜tool▁call▁end｜>",
            (
                "<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>",
                "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            ),
        ),
    ),
    "deepseek v3.1": (
        DEEPSEEK,
        Golden(
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Zürich"}'
            "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Zürich"}'
            '<｜tool▁call▁end｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": 1, "b": 2.5}'
            "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>save<｜tool▁sep｜>{NESTED_JSON}"
            "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
            "<｜tool▁calls▁end｜>",
            (
                "<｜tool▁calls▁begin｜>now<｜tool▁sep｜>[]<｜tool▁calls▁end｜>",
                "<｜tool▁calls▁begin｜>now<｜tool▁sep｜><｜tool▁calls▁end｜>",
            ),
        ),
    ),
    "deepseek v3.2": (
        DEEPSEEK_DSML,
        Golden(
            '<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter '
            'name="city" string="true">Zürich</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
            "</｜DSML｜function_calls>",
            '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter '
            'name="city" string="true">Zürich</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
            '<｜DSML｜invoke name="add"><｜DSML｜parameter name="a" string="false">1'
            '</｜DSML｜parameter><｜DSML｜parameter name="b" string="false">2.5</｜DSML｜parameter>'
            "</｜DSML｜invoke></｜DSML｜tool_calls>",
            '<｜DSML｜function_calls><｜DSML｜invoke name="save"><｜DSML｜parameter name="data" '
            f'string="false">{DATA}</｜DSML｜parameter><｜DSML｜parameter name="tags" '
            f'string="false">{TAGS}</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>',
            '<｜DSML｜function_calls><｜DSML｜invoke name="now"></｜DSML｜invoke>'
            "</｜DSML｜function_calls>",
            ("<｜DSML｜function_calls>now()</｜DSML｜function_calls>",),
        ),
    ),
    "granite": (
        GRANITE,
        Golden(
            '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Zürich"}}]',
            '<|tool_call|> [{"name": "get_weather", "arguments": {"city": "Zürich"}}, '
            '{"name": "add", "arguments": {"a": 1, "b": 2.5}}]',
            f'<|tool_call|>[{{"name": "save", "arguments": {NESTED_JSON}}}]',
            '<tool_call>[{"name": "now"}]</tool_call>',
            ("<|tool_call|>now()", "<|tool_call|>[1]"),
        ),
    ),
    "nemotron": (
        NEMOTRON,
        Golden(
            '<TOOLCALL>[{"name": "get_weather", "arguments": {"city": "Zürich"}}]</TOOLCALL>',
            '<TOOLCALL>[{"name": "get_weather", "arguments": {"city": "Zürich"}}, '
            '{"name": "add", "arguments": {"a": 1, "b": 2.5}}]</TOOLCALL>',
            f'<TOOLCALL>[{{"name": "save", "arguments": {NESTED_JSON}}}]</TOOLCALL>',
            '<TOOLCALL>[{"name": "now", "arguments": {}}]</TOOLCALL>',
            ("<TOOLCALL>now</TOOLCALL>", "<TOOLCALL>[now]</TOOLCALL>"),
        ),
    ),
    "firefunction": (
        FIREFUNCTION,
        Golden(
            'functools[{"name": "get_weather", "arguments": {"city": "Zürich"}}]',
            'functools[{"name": "get_weather", "arguments": {"city": "Zürich"}}, '
            '{"name": "add", "arguments": {"a": 1, "b": 2.5}}]',
            f'functools[{{"name": "save", "arguments": {NESTED_JSON}}}]',
            'functools[{"name": "now", "arguments": {}}]',
            ("functools[now]", "functools.cache"),
        ),
    ),
    "tool_calls": (
        TOOL_CALLS,
        Golden(
            '<tool_calls>[{"name": "get_weather", "arguments": {"city": "Zürich"}}]</tool_calls>',
            '<tool_calls>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n'
            '{"name": "add", "arguments": {"a": 1, "b": 2.5}}\n</tool_calls>',
            f'<tool_calls>[{{"name": "save", "arguments": {NESTED_JSON}}}]</tool_calls>',
            '<tool_calls>{"name": "now"}</tool_calls>',
            ("<tool_calls></tool_calls>", "<tool_calls>[now]</tool_calls>"),
        ),
    ),
    "apertus": (
        APERTUS,
        Golden(
            '<|tools_prefix|>[{"get_weather": {"city": "Zürich"}}]<|tools_suffix|>',
            '<|tools_prefix|>[{"get_weather": {"city": "Zürich"}}, {"add": {"a": 1, "b": 2.5}}]'
            "<|tools_suffix|>",
            f'<|tools_prefix|>[{{"save": {NESTED_JSON}}}]<|tools_suffix|>',
            '<|tools_prefix|>[{"now": {}}]<|tools_suffix|>',
            ("<|tools_prefix|>[now]<|tools_suffix|>", '<|tools_prefix|>[{"a": {}, "b": {}}]'),
        ),
    ),
    "command-r7b": (
        COMMAND_R7B,
        Golden(
            '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "get_weather", '
            '"parameters": {"city": "Zürich"}}\n]<|END_ACTION|>',
            '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "get_weather", '
            '"parameters": {"city": "Zürich"}},\n    {"tool_call_id": "1", "tool_name": "add", '
            '"parameters": {"a": 1, "b": 2.5}}\n]<|END_ACTION|>',
            f'<|START_ACTION|>[{{"tool_name": "save", "parameters": {NESTED_JSON}}}]<|END_ACTION|>',
            '<|START_ACTION|>[{"tool_name": "now"}]<|END_ACTION|>',
            ("<|START_ACTION|>[]<|END_ACTION|>", "<|START_ACTION|>now<|END_ACTION|>"),
        ),
    ),
    "command-r": (
        COMMAND_R,
        Golden(
            'Action: ```json\n[{"tool_name": "get_weather", "parameters": {"city": "Zürich"}}]'
            "\n```",
            'Action:\n```json\n[{"tool_name": "get_weather", "parameters": {"city": "Zürich"}},\n'
            '{"tool_name": "add", "parameters": {"a": 1, "b": 2.5}}]\n```',
            f'Action:```json\n[{{"tool_name": "save", "parameters": {NESTED_JSON}}}]\n```',
            'Action: ```json\n[{"tool_name": "now", "parameters": {}}]\n```',
            ("Action: ```json\nnow```", 'Action: ```json\n{"tool_name": 1}\n```'),
        ),
    ),
    "functiongemma": (
        FUNCTION_GEMMA,
        Golden(
            "<start_function_call>call:get_weather{city:<escape>Zürich<escape>}<end_function_call>",
            "<start_function_call>call:get_weather{city:<escape>Zürich<escape>}<end_function_call>"
            "<start_function_call>call:add{a:1,b:2.5}<end_function_call>",
            "<start_function_call>call:save{data:{x:[1,{y:<escape>}{][<escape>}],z:null},"
            "tags:[<escape>a<escape>,<escape>ß\n<escape>]}<end_function_call>",
            "<start_function_call>call:now{}<end_function_call>",
            (
                "<start_function_call>now<end_function_call>",
                "<start_function_call>call:now{a}<end_function_call>",
            ),
        ),
    ),
    "gemma 4": (
        GEMMA4,
        Golden(
            '<|tool_call>call:get_weather{city:<|"|>Zürich<|"|>}<tool_call|>',
            '<|tool_call>call:get_weather{city:<|"|>Zürich<|"|>}<tool_call|>'
            "<|tool_call>call:add{a:1,b:2.5}<tool_call|>",
            '<|tool_call>call:save{data:{x:[1,{y:<|"|>}{][<|"|>}],z:null},'
            'tags:["a",<|"|>ß\n<|"|>]}<tool_call|>',
            "<|tool_call>call:now{}<tool_call|>",
            ("<|tool_call>call:now{<tool_call|>", "<|tool_call>call:{}<tool_call|>"),
        ),
    ),
    "glm": (
        GLM,
        Golden(
            "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Zürich</arg_value>\n"
            "</tool_call>",
            "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Zürich</arg_value></tool_call>\n"
            "<tool_call>add<arg_key>a</arg_key><arg_value>1</arg_value><arg_key>b</arg_key>"
            "<arg_value>2.5</arg_value></tool_call>",
            f"<tool_call>save\n<arg_key>data</arg_key>\n<arg_value>{DATA}</arg_value>\n"
            f"<arg_key>tags</arg_key>\n<arg_value>{TAGS}</arg_value>\n</tool_call>",
            "<tool_call>now\n</tool_call>",
            ("<tool_call>\n</tool_call>", "<tool_call>now<arg_key>a</arg_key></tool_call>"),
        ),
    ),
    "kimi": (
        KIMI,
        Golden(
            "<|tool_calls_section_begin|>"
            + KIMI_CALL.format("get_weather", 0, '{"city": "Zürich"}')
            + "<|tool_calls_section_end|>",
            "<|tool_calls_section_begin|>"
            + KIMI_CALL.format("get_weather", 0, '{"city": "Zürich"}')
            + KIMI_CALL.format("add", 1, '{"a": 1, "b": 2.5}')
            + "<|tool_calls_section_end|>",
            "<|tool_calls_section_begin|>"
            + KIMI_CALL.format("save", 0, NESTED_JSON)
            + "<|tool_calls_section_end|>",
            "<|tool_calls_section_begin|>"
            + KIMI_CALL.format("now", 7, "{}")
            + "<|tool_calls_section_end|>",
            (
                "<|tool_calls_section_begin|><|tool_calls_section_end|>",
                "<|tool_calls_section_begin|><|tool_call_begin|>now<|tool_calls_section_end|>",
            ),
            ids=("functions.get_weather:0", "functions.add:1"),
        ),
    ),
    "solar": (
        SOLAR,
        Golden(
            "<|tool_call:begin|>x1<|tool_call:name|>get_weather<|tool_call:args|>"
            '{"city": "Zürich"}<|tool_call:end|>',
            "<|tool_call:begin|>x1<|tool_call:name|>get_weather<|tool_call:args|>"
            '{"city": "Zürich"}<|tool_call:end|><|tool_call:begin|>x2<|tool_call:name|>add'
            '<|tool_call:args|>{"a": 1, "b": 2.5}<|tool_call:end|>',
            f"<|tool_call:begin|><|tool_call:name|>save<|tool_call:args|>{NESTED_JSON}"
            "<|tool_call:end|>",
            "<|tool_call:begin|>x<|tool_call:name|>now<|tool_call:args|>{}<|tool_call:end|>",
            ("<|tool_call:begin|>now<|tool_call:end|>",),
            ids=("x1", "x2"),
        ),
    ),
    "minimax": (
        MINIMAX,
        Golden(
            '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Zürich'
            "</parameter>\n</invoke>\n</minimax:tool_call>",
            '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Zürich'
            '</parameter>\n</invoke>\n<invoke name="add"><parameter name="a">1</parameter>'
            '<parameter name="b">2.5</parameter></invoke>\n</minimax:tool_call>',
            f'<minimax:tool_call><invoke name="save"><parameter name="data">{DATA}</parameter>'
            f'<parameter name="tags">{TAGS}</parameter></invoke></minimax:tool_call>',
            '<minimax:tool_call><invoke name="now"></invoke></minimax:tool_call>',
            ("<minimax:tool_call>now()</minimax:tool_call>",),
        ),
    ),
    "olmo": (
        OLMO,
        Golden(
            '<function_calls>get_weather(city="Zürich")</function_calls>',
            "<function_calls>get_weather(city='Zürich')\nadd(a=1, b=2.5)</function_calls>",
            '<function_calls>save(data={"x": [1, {"y": "}{]["}], "z": None}, tags=["a", "ß\\n"])'
            "</function_calls>",
            "<function_calls>now()</function_calls>",
            ("<function_calls>now</function_calls>", "<function_calls>f(1)</function_calls>"),
        ),
    ),
    "lfm2": (
        LFM2,
        Golden(
            '<|tool_call_start|>[get_weather(city="Zürich")]<|tool_call_end|>',
            '<|tool_call_start|>[get_weather(city="Zürich"), add(a=1, b=2.5)]<|tool_call_end|>',
            "<|tool_call_start|>[save(data={'x': [1, {'y': '}{]['}], 'z': null}, "
            'tags=["a", "\\u00df\\n"])]<|tool_call_end|>',
            '<|tool_call_start|>[{"name": "now", "arguments": {}}]<|tool_call_end|>',
            ("<|tool_call_start|>[now]<|tool_call_end|>", "<|tool_call_start|><|tool_call_end|>"),
        ),
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_calls(name: str) -> None:
    """One, two, nested values, none at all: each at every split."""
    family, golden = FAMILIES[name]
    one = golden.ids[:1] if golden.ids and golden.ids[0] in golden.one else ()

    check(family, "Just text, <so> [it] {is}.\n", Told("Just text, <so> [it] {is}.\n"))
    check(family, golden.one, Told("", (WEATHER,), ids=one))
    check(family, golden.two, Told("", (WEATHER, ADD), ids=golden.ids))
    nested = told(family.parser(TOOLS), [golden.nested])
    check(family, golden.nested, Told("", (NESTED,), ids=nested.ids))


@pytest.mark.parametrize("name", FAMILIES)
def test_text_around(name: str) -> None:
    """It is content; only blank space around the calls is left out."""
    family, golden = FAMILIES[name]
    text = f"Ä first.\n\n{golden.empty}\n\nThen."
    ids = told(family.parser(TOOLS), [text]).ids

    check(family, text, Told("Ä first.Then.", (NOW,), ids=ids))


@pytest.mark.parametrize("name", FAMILIES)
def test_malformed_calls_are_text(name: str) -> None:
    """To the letter, with what stands around them, and noted."""
    family, golden = FAMILIES[name]
    for text in golden.malformed:
        check(family, f"Oh. {text}", Told(f"Oh. {text}", malformed=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_truncated_calls_are_text_or_whole(name: str) -> None:
    """An answer cut anywhere loses nothing: its call is complete, or comes as text."""
    family, golden = FAMILIES[name]
    for end in range(1, len(golden.one)):
        text = golden.one[:end]
        found = told(family.parser(TOOLS), [text])
        assert found == told(family.parser(TOOLS), list(text))
        if found.calls:
            assert (found.calls, found.content.strip(), found.malformed) == ((WEATHER,), "", False)
        else:
            assert found.content == text


@pytest.mark.parametrize("name", FAMILIES)
@given(data=st.data())
def test_streamed_and_whole_are_the_same(name: str, data: st.DataObject) -> None:
    """Any mixture of a family's texts, cut anywhere, reads the same; nothing breaks a parser."""
    family, golden = FAMILIES[name]
    texts = [golden.one, golden.two, golden.nested, golden.empty, *golden.malformed, *family.marks]
    halves = [text[: len(text) // 2] for text in texts] + [text[len(text) // 2 :] for text in texts]
    bits = st.sampled_from([*texts, *halves, *family.marks, " ", "\n", "x", '"', "{", "]", "\\"])
    text = "".join(data.draw(st.lists(bits, max_size=8)))
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=12))

    assert told(family.parser(TOOLS), cut(text, cuts)) == told(family.parser(TOOLS), [text])


@pytest.mark.parametrize("name", FAMILIES)
def test_all_marks_reach_the_parser(name: str) -> None:
    """Any mark may be a control token of some vocabulary, and such have to be asked for."""
    family, golden = FAMILIES[name]
    written = "".join([golden.one, golden.two, golden.nested, golden.empty])
    control = r"<[|｜][^<>]+[|｜]>|<\|tool_call>|<tool_call\|>|\[[A-Z_]{4,}\]"
    tags = r"</?(?:tool_call|tool_calls|TOOLCALL|arg_key|arg_value)>"
    tokens = set(re.findall(f"{control}|{tags}", written))

    assert {token for token in tokens if "DSML" not in token} <= set(family.marks)
