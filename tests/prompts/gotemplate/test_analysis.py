"""What a Go template shows about its model is read as Ollama reads it."""

from __future__ import annotations

import pytest

from trillama.prompts.detect import ThinkingTags
from trillama.prompts.gotemplate import analysis
from trillama.prompts.gotemplate.template import compile_template

M = "{{ range .Messages }}"
E = "{{ end }}"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("Tools .Tools", ()),
        ("{{ .System }} {{ .PROMPT }}", ("system", "prompt")),
        ("{{ if and .A (or $.B .C.D) }}{{ .E }}{{ else if .F }}{{ .G }}{{ end }}",
         ("a", "$", "b", "c", "d", "e", "f", "g")),
        ("{{ range $i, $m := .Messages }}{{ $m.Content }}{{ end }}", ("messages", "$m", "content")),
        ('{{ define "x" }}{{ .Tools }}{{ end }}{{ template "x" .Y }}', ("tools", "y")),
        ("{{/* .Tools */}}{{ `.Tools` }}", ()),
        ("{{ with $x := .A }}{{ end }}", ("a",)),
        ("{{ (index .Messages 0).Role }}", ("messages",)),
    ],
)  # fmt: skip
def test_variables(source: str, names: tuple[str, ...]) -> None:
    """Fields and variables of all actions count, in lower case; text and comments do not."""
    assert analysis.variables(compile_template(source).trees) == set(names)


@pytest.mark.parametrize(
    ("source", "tags"),
    [
        ("", None),
        ("<think>{{ .Thinking }}</think>", None),
        (M + "<think>{{ .Thinking }}</think>" + E, ("<think>", "</think>")),
        (M + "{{ if .Thinking }}\n<think>\n {{ .Thinking }}\n</think>\n\n{{ end }}x" + E,
         ("<think>", "</think>")),
        (M + "a{{ if .Thinking }}[T]{{ .Thinking }}[/T]{{ end }}b" + E, ("[T]", "[/T]")),
        (M + "{{ range .Other }}<think>{{ .Thinking }}</think>{{ end }}" + E, None),
        (M + "{{ .Thinking }}" + E, None),
        (M + "<think>{{ .Thinking }}" + E, None),
        ("{{ range $m := .Messages }}<think>{{ $m.Thinking }}</think>{{ end }}", None),
        (M + "{{ if and $.IsThinkSet (and .Thinking .X) -}}<think>{{ .Thinking }}</think>{{ end }}"
         + E, ("<think>", "</think>")),
    ],
)  # fmt: skip
def test_thinking_tags(source: str, tags: tuple[str, str] | None) -> None:
    """The texts at both ends of the list that shows the reasoning, within the messages."""
    expected = ThinkingTags(*tags) if tags else None
    assert analysis.thinking_tags(compile_template(source).trees) == expected


@pytest.mark.parametrize(
    ("source", "tag"),
    [
        ("", "{"),
        ("{{ if .ToolCalls }}<tool_call>{{ .Name }}{{ end }}", "<tool_call>"),
        ('{{ if .ToolCalls }}\n<tool_call>\n{"name": {{ .Name }}}{{ end }}', "<tool_call>"),
        ("{{ if .ToolCalls }}[TOOL_CALLS] [{{ range .ToolCalls }}{{ end }}]{{ end }}",
         "[TOOL_CALLS] ["),
        ('{{ if .ToolCalls }}{{ range .ToolCalls }}{"name": "{{ .N }}"}{{ end }}{{ end }}', "{"),
        ("{{ if .ToolCalls }}{{ range .ToolCalls }}<f>{{ .N }}{{ end }}{{ end }}", "<f>"),
        ("{{ if .ToolCalls }}{{ .Content }}<f>{{ end }}", "{"),
        ("{{ if .ToolCalls }}{{ if .X }}{{ end }}<f>{{ end }}", "{"),
        ("{{ if .ToolCalls }}{{ $x := 1 }}<f>{{ end }}", "<f>"),
        ("{{ range .ToolCalls }}<f>{{ end }}", "{"),
        ("{{ if $m }}{{ else if .ToolCalls }}<f>{{ end }}", "<f>"),
        ("{{ if and .ToolCalls .X }}functools[{{ end }}", "functools["),
        ("{{ if (and .ToolCalls) }}<f>{{ end }}", "{"),
        ("{{ if .ToolCalls }}```json\r\n{{ end }}", "```json"),
    ],
)  # fmt: skip
def test_tool_call_tags(source: str, tag: str) -> None:
    """The first text shown for the calls of earlier answers; a brace where there is none."""
    source = source.replace("$m", "false")
    assert analysis.tool_call_tag(compile_template(source).trees) == tag
