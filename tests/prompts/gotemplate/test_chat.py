"""Messages become prompts by a Go template as Ollama makes them."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from trillama.base.errors import BadRequest, TemplateError, Unsupported
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.prompts import budget
from trillama.prompts.gotemplate.chat import GoChatTemplate, collate

LEGACY = "{{ .System }} {{ .Prompt }} {{ .Response }} "


def system(text: str) -> Message:
    return Message("system", text)


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str, **more: Any) -> Message:
    return Message("assistant", text, **more)


def by_messages(action: str) -> GoChatTemplate:
    """A template that prints something for every message."""
    return GoChatTemplate("{{ range .Messages }}" + action + "{{ end }}")


@pytest.mark.parametrize(
    ("source", "messages", "text"),
    [
        (LEGACY, [user("a")], " a "),
        (LEGACY, [system("s"), user("a")], "s a "),
        (LEGACY, [user("a"), assistant("b"), user("c")], " a b  c "),
        (LEGACY, [user("a"), assistant("b"), system("s"), user("c")], " a b s c "),
        (LEGACY, [system("s"), system("t"), user("a")], "s\n\nt a "),
        (LEGACY, [user("a"), user("b")], " a\n\nb "),
        (LEGACY, [user("a"), assistant("b")], " a b"),
        (LEGACY, [user("a"), Message("tool", "t"), user("b")], " b "),
        (LEGACY, [user("a"), system("s")], " a  s  "),
        (LEGACY, [], "  "),
        ("{{ .Prompt }}", [user("a"), assistant("b"), user("c")], "abc"),
        ("{{ .System }}{{ .Prompt }}<a>", [user("a")], "a<a>"),
        ("{{ .Prompt }}<a>{{ .Response }}<e>", [user("a")], "a<a>"),
        ("{{ .Prompt }}<a>{{ .Response }}<e>", [user("a"), assistant("b"), user("c")],
         "a<a>b<e>c<a>"),
        ("{{ .Prompt }}{{ if .Response }}<a>{{ .Response }}<e>{{ end }}<z>", [user("a")], "a"),
        ("{{ .Prompt }}{{ if .Response }}{{ .Response }}<e>{{ else }}<a>{{ end }}<z>", [user("a")],
         "a<a>"),
        ("{{ if .Prompt }}{{ .Prompt }}{{ end }}|{{ .Response | printf `%s` }}<e>",
         [user("a"), assistant("b")], "a|b"),
        ('{{ define "e" }}<e>{{ end }}{{ .Prompt }}{{ template "e" . }}{{ .Response }}<z>',
         [user("a")], "a<e>"),
        ("{{ json .Prompt }}{{ .Response }}", [user("a")], '"a"'),
        ("{{ .Tools }}{{ .Messages2 }}{{ .Prompt }}", [user("a")], "<no value><no value>a"),
    ],
)  # fmt: skip
def test_templates_of_exchanges(source: str, messages: list[Message], text: str) -> None:
    """One execution for each exchange; the last ends where the answer begins."""
    assert GoChatTemplate(source).render(messages) == text


@pytest.mark.parametrize(
    ("source", "messages", "text"),
    [
        ("{{ range .Messages }}{{ .Role }}:{{ .Content }};{{ end }}A", [user("a"), assistant("b")],
         "user:a;assistant:b;A"),
        ("{{ .System }}|{{ range .Messages }}{{ .Role }} {{ end }}",
         [system("s"), user("a"), system("t")], "s\n\nt|system user system "),
        ("{{ .Prompt }}{{ .Suffix }}{{ if .Messages }}x{{ end }}", [user("a")],
         "<no value><no value>x"),
        ("{{ .Messages }}{{ .Response }}|", [], "[]|"),
        ("{{ range $i, $m := .Messages }}{{ $i }}{{ eq (len (slice $.Messages $i)) 1 }} {{ end }}",
         [user("a"), assistant("b")], "0false 1true "),
        ("{{ (index .Messages 0).Content }}", [user("a")], "a"),
        ("{{ range .Messages }}{{ .ToolName }}/{{ .ToolCallID }}/{{ .Thinking }};{{ end }}",
         [assistant("x", thinking="hm"), Message("tool", "5", tool_name="f", tool_call_id="1")],
         "//hm;f/1/;"),
        ("{{ range .Messages }}{{ len .Images }}{{ range .Images }}i{{ end }}{{ end }}",
         [Message("user", "a", images=(b"1", b"2"))], "2ii"),
    ],
)  # fmt: skip
def test_templates_of_messages(source: str, messages: list[Message], text: str) -> None:
    """One execution; the system texts are joined and also stay where they were."""
    assert GoChatTemplate(source).render(messages) == text


def test_neighbours_are_joined() -> None:
    """Messages of one role become one, with an empty line between; results of tools do not."""
    messages = [user("a"), user(""), assistant("b"), Message("tool", "1"), Message("tool", "2")]

    assert [(one.role, one.content) for one in collate(messages)] == [
        ("user", "a\n\n"), ("assistant", "b"), ("tool", "1"), ("tool", "2"),
    ]  # fmt: skip


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "the <weather>",
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {
                "unit": {"type": ["string", "null"], "enum": ["C", "F"], "default": "C"},
                "city": {"type": "string", "description": "where"},
                "when": {"anyOf": [{"type": "integer"}, {"type": "array"}]},
            },
        },
    },
}
PARAMETERS = (
    '{"type":"object","required":["city"],"properties":{'
    '"city":{"type":"string","description":"where"},'
    '"unit":{"type":["string","null"],"enum":["C","F"],"default":"C"},'
    '"when":{"anyOf":[{"type":"integer"},{"type":"array"}]}}}'
).replace(',"items":{}', "")
FUNCTION = (
    '{"name":"weather","description":"the \\u003cweather\\u003e","parameters":' + PARAMETERS + "}"
)


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("{{ .Tools }}", '[{"type":"function","function":' + FUNCTION + "}]"),
        ("{{ range .Tools }}{{ . }}{{ end }}", '{"type":"function","function":' + FUNCTION + "}"),
        ("{{ range .Tools }}{{ .Function }}{{ end }}", FUNCTION),
        ("{{ range .Tools }}{{ json .Function }}{{ end }}", FUNCTION),
        ("{{ range .Tools }}{{ .Function.Parameters }}{{ end }}", PARAMETERS),
        ("{{ range .Tools }}{{ .Type }} {{ .Function.Name }}{{ end }}", "function weather"),
        ("{{ range .Tools }}{{ range $n, $p := .Function.Parameters.Properties }}"
         "{{ $n }}={{ $p.Type }}:{{ $p.ToTypeScriptType }} {{ end }}{{ end }}",
         "city=string:string unit=[string null]:string | null when=[]:number | any[] "),
        ("{{ range .Tools }}{{ .Function.Parameters.Required }}{{ end }}", "[city]"),
        ("{{ range .Tools }}{{ .Function.Parameters.Properties.city.Description }}{{ end }}",
         "where"),
        ("{{ if .Tools }}yes{{ end }}{{ len .Tools }}", "yes1"),
    ],
)  # fmt: skip
def test_tools_print_as_json(action: str, text: str) -> None:
    """Definitions print in Ollama's order of keys, whole or in parts; unknown keys stay."""
    source = "{{ if .Messages }}" + action + "{{ end }}"
    assert GoChatTemplate(source).render([user("x")], [TOOL]) == text


def test_no_tools_are_null() -> None:
    """Without tools the list is nil: it prints as null and is false."""
    source = "{{ if .Messages }}{{ .Tools }}{{ if .Tools }}x{{ end }}{{ json .Tools }}{{ end }}"
    assert GoChatTemplate(source).render([user("x")]) == "nullnull"


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("{{ .Function.Name }} {{ .ID }} {{ .Function.Index }}", "f c1 2"),
        ("{{ .Function.Arguments }}", '{"a":{"z":1},"b":1000000}'),
        ("{{ json .Function.Arguments }}", '{"a":{"z":1},"b":1000000}'),
        ("{{ .Function.Arguments.b }} {{ .Function.Arguments.c }}", "1000000 <no value>"),
        ("{{ range $k, $v := .Function.Arguments }}{{ $k }}={{ $v }} {{ end }}",
         "a=map[z:1] b=1000000 "),
        ("{{ . }}", '{"function":{"name":"f","arguments":{"a":{"z":1},"b":1000000}}}'),
        ("{{ .Function }}", '{"name":"f","arguments":{"a":{"z":1},"b":1000000}}'),
    ],
)  # fmt: skip
def test_calls_print_as_json(action: str, text: str) -> None:
    """Arguments are an object with sorted keys, and print as JSON."""
    call = ToolCall(ToolFunction("f", {"b": 1_000_000, "a": {"z": 1}}, index=2), "c1")
    template = by_messages("{{ range .ToolCalls }}" + action + "{{ end }}")
    assert template.render([assistant("", tool_calls=(call,))]) == text


@pytest.mark.parametrize(
    ("think", "text"),
    [(None, "false||false"), (False, "false||true"), (True, "true|medium|true"),
     ("high", "true|high|true")],
)  # fmt: skip
def test_thinking_is_told(think: bool | str | None, text: str) -> None:
    """Whether, how much, and whether anybody said so; in every kind of template."""
    values = "{{ .Think }}|{{ .ThinkLevel }}|{{ .IsThinkSet }}"
    assert (
        GoChatTemplate("{{ if .Messages }}" + values + "{{ end }}").render([user("")], (), think)
        == text
    )
    assert GoChatTemplate(values).render([user("")], (), think) == text
    assert GoChatTemplate("{{ if .Suffix }}" + values + "{{ end }}").insert("a", "b", think) == text


def test_dates_are_local() -> None:
    """currentDate and yesterdayDate are days, whatever layout they are given."""
    template = GoChatTemplate('{{ currentDate "x" }} {{ yesterdayDate }}{{ .Response }}')
    today = datetime.date.today()
    yesterday = today - datetime.timedelta(days=1)
    assert template.render([user("x")]) == f"{today} {yesterday}"


def test_what_a_template_can_do() -> None:
    """Tools, insertion and thinking are seen from the variables; the tags from the text."""
    template = by_messages(
        "{{ $.Tools }}{{ $.Suffix }}{{ if 1 }}<think>{{ .Thinking }}</think>{{ end }}"
    )
    assert (template.uses_tools, template.inserts, template.thinks) == (True, True, True)
    assert template.starts_inside_thinking("...<think>\n")
    plain = GoChatTemplate("{{ .Prompt }}")
    assert (plain.uses_tools, plain.inserts, plain.thinks) == (False, False, False)
    assert GoChatTemplate("<s>{{ .Prompt }}", "<s>").begins_with_bos("<s>x")


def test_thoughts_in_earlier_answers_are_forgotten() -> None:
    """What clients send back as content is taken apart, before the last question alone."""
    template = by_messages(
        "{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }};"
    )
    said = assistant("\n<think>hm</think>\nyes")
    assert template.render([user("a"), said, user("b")]) == "a;yes;b;"
    assert template.render([user("a"), said]) == "a;\n<think>hm</think>\nyes;"
    assert template.render([user("a"), assistant("no <think>"), user("b")]) == "a;no <think>;b;"
    assert template.render([user("a"), assistant("<think>un"), user("b")]) == "a;;b;"
    assert by_messages("{{ .Content }};").render([user("a"), said, user("b")]).count("think") == 2


def test_an_answer_can_be_continued() -> None:
    """The text ends with what the last message holds."""
    template = by_messages("<{{ .Role }}>{{ .Content }}<end>")
    assert (
        template.render([user("a"), assistant("b ")], continue_final=True)
        == "<user>a<end><assistant>b"
    )
    with pytest.raises(BadRequest):
        by_messages("{{ .Role }}").render([assistant("b")], continue_final=True)


def test_a_gap_needs_a_place() -> None:
    """Only a template with a suffix can fill one."""
    assert GoChatTemplate("[{{ .Suffix }}[{{ .Prompt }}").insert("p", "s") == "[s[p"
    with pytest.raises(Unsupported):
        GoChatTemplate("{{ .Prompt }}").insert("p", "s")


@pytest.mark.parametrize("key", ["enum", "required", "anyOf", "properties", "type", "items"])
@pytest.mark.parametrize("value", [5, "text", None, True, [1, {"a": []}], {"a": 5}])
def test_malformed_tools_are_no_surprise(key: str, value: object) -> None:
    """Whatever a definition holds in place of what belongs there prints, or is refused."""
    tool = {
        "function": {"name": value, "parameters": {"properties": {"a": {key: value}}, key: value}}
    }
    source = "{{ range .Messages }}{{ $.Tools }}{{ json $.Tools }}{{ end }}"
    assert GoChatTemplate(source).render([user("x")], [tool]).startswith("[")


def test_tools_that_nest_without_end_are_refused() -> None:
    """A 400, whichever way it nests."""
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(300):
        deep = {"type": "object", "properties": {"a": deep}}
    tool = {"function": {"name": "f", "parameters": deep}}
    with pytest.raises(BadRequest):
        GoChatTemplate("{{ .Messages }}{{ .Tools }}").render([user("x")], [tool])


def test_a_thousand_exchanges_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long conversation is cheap; an expensive template is stopped once, not per exchange."""
    messages = [user("a"), assistant("b")] * 1000
    assert GoChatTemplate(LEGACY).render([*messages, user("c")]).count("a b") == 1000
    monkeypatch.setattr(budget, "SECONDS", 0.2)
    slow = GoChatTemplate("{{ range 20000 }}{{ end }}" + LEGACY)
    with pytest.raises(TemplateError):
        slow.render([*messages, user("c")])
