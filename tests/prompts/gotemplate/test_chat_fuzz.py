"""Whatever a template and a conversation hold, rendering gives text or says why it does not."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trillama.base.errors import BadRequest, TemplateError, Unsupported
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.prompts.gotemplate.chat import GoChatTemplate
from trillama.prompts.known import detect_template, known_templates

PIECES = sorted(
    {"{{ .System }}", "{{ .Prompt }}", "{{ .Response }}", "{{ .Suffix }}", "{{ .Tools }}", "text"}
    | {"{{ range .Messages }}", "{{ range .Tools }}", "{{ range .ToolCalls }}", "{{ end }}", "<t>"}
    | {"{{ .Role }}", "{{ .Content }}", "{{ .Thinking }}", "{{ .Function }}", "{{ . }}", "\n"}
    | {"{{ json . }}", "{{ .Function.Parameters }}", "{{ .Function.Arguments }}", "{{ .Images }}"}
    | {'{{ if eq .Role "user" }}', "{{ if .ToolCalls }}", "{{ if .Response }}", "{{ else }}"}
    | {"{{ range $k, $v := .Function.Parameters.Properties }}", "{{ $v.Type }}", "{{ $k }}"}
    | {"{{ $v.ToTypeScriptType }}", "{{ (index $.Messages 0).Content }}", "{{ slice .Content 1 }}"}
    | {"{{ len .Content }}", '{{ printf "%#v %d %s" . . . }}', "{{ break }}", "{{ $.Think }}"}
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "anyOf", "items", "properties", "enum", "required", "a"]),
            inner,
        )
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["name", "parameters", "properties", "x"]), JSON)
CALLS = st.builds(
    ToolCall, st.builds(ToolFunction, st.text(max_size=3), st.dictionaries(st.text(), JSON))
)
MESSAGES = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "tool", "other", ""]),
    st.text(max_size=9),
    thinking=st.text(max_size=3),
    tool_calls=st.lists(CALLS, max_size=2).map(tuple),
)
TOOLS = st.lists(st.fixed_dictionaries({}, optional={"type": JSON, "function": OBJECTS | JSON}))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_conversation_surprises(data: st.DataObject) -> None:
    """Text, TemplateError or BadRequest: in a second, for every mode of every template."""
    if data.draw(st.booleans()):
        source = data.draw(st.sampled_from(sorted(known_templates().items())))[1].source
    else:
        source = "".join(data.draw(st.lists(st.sampled_from(PIECES), max_size=12)))
    messages = data.draw(st.lists(MESSAGES, max_size=5))
    tools: list[Any] = data.draw(TOOLS)
    think = data.draw(st.sampled_from([None, True, False, "high"]))
    began = time.thread_time()
    with contextlib.suppress(TemplateError, BadRequest, Unsupported):
        template = GoChatTemplate(source)
        template.render(messages, tools, think).encode()
        template.render(messages, tools, think, continue_final=True).encode()
        template.insert("a", "b", think).encode()
    assert time.thread_time() - began < 2


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_jinja_text_surprises(data: st.DataObject) -> None:
    """Any text is recognised or not, in no time."""
    known = data.draw(st.sampled_from(sorted(known_templates().items())))[1]
    text = data.draw(st.text(max_size=50)).join(known.jinja[:2])
    began = time.thread_time()
    detect_template(text)
    assert time.thread_time() - began < 1
