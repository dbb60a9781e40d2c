"""Templates are told their messages in the manner they want."""

from __future__ import annotations

import pytest

from tests.support.gguf_bytes import CHATML
from trillama.base.errors import BadRequest, TemplateError
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.prompts.manners import Manner, manner_of, merged, paired
from trillama.prompts.parsers.choose import family_of_template
from trillama.prompts.parsers.family import Ids, call_id, new_id
from trillama.prompts.render import ChatTemplate

LOOP = "{{% for m in messages %}}{}{{% endfor %}}"
CONTENT = "{{ m.content }}"
CALLS = "{% for c in m.tool_calls or [] %}{{ c.function.name }}({ARGS}){% endfor %}"
AS_TEXT = CONTENT + CALLS.replace("{ARGS}", "{{ c.function.arguments }}")
AS_OBJECT = CONTENT + CALLS.replace("{ARGS}", "{{ c.function.arguments | tojson }}")
NEEDS_NULL = "{% if m.content is none %}" + AS_OBJECT[len(CONTENT) :] + "{% else %}"
NEEDS_NULL += "{{ m.content }}{% endif %}"
PARTS = "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}"
NO_SYSTEM = "{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CONTENT
CALL = ToolCall(ToolFunction("f", {"a": "ü"}))


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (CONTENT, Manner()),
        (AS_OBJECT, Manner()),
        (AS_TEXT, Manner(arguments_as_text=True)),
        (NEEDS_NULL, Manner(null_content=True)),
        (PARTS, Manner(parts=True)),
        (NO_SYSTEM, Manner(merged_system=True)),
        ("{% if m.role == 'user' %}{{ m.content }}{% endif %}", Manner(merged_system=True)),
        ("{{ nope.nope }}", Manner(works=False)),
    ],
)  # fmt: skip
def test_a_template_shows_its_manner(body: str, wanted: Manner) -> None:
    """Each is told from what comes of a trial."""
    assert manner_of(LOOP.format(body), "", "") == wanted


def test_prompts_follow_the_manner() -> None:
    """Arguments as text, content in parts, system text merged: what the template can show."""
    said = [
        Message("system", "S"),
        Message("user", "U"),
        Message("assistant", "", tool_calls=(CALL,)),
    ]

    assert ChatTemplate(LOOP.format(AS_TEXT)).render(said) == 'SUf({"a": "ü"})'
    assert ChatTemplate(LOOP.format(NEEDS_NULL)).render(said) == 'SUf({"a": "ü"})'
    assert ChatTemplate(LOOP.format(PARTS)).render(said[:2]) == "SU"
    assert ChatTemplate(LOOP.format(NO_SYSTEM)).render(said[:2]) == "S\n\nU"
    assert manner_of(CHATML, "", "") == Manner()


def test_a_conversation_that_a_sound_template_cannot_show_is_at_fault() -> None:
    """A bad request then; a template that shows nothing at all is the model's own trouble."""
    picky = ChatTemplate(LOOP.format("{{ m.content }}{{ m.tool_calls[0].function.arguments.a }}"))
    with pytest.raises(BadRequest, match="cannot show these messages"):
        ChatTemplate(LOOP.format("{{ m.content ~ (1 // (m.content != 'x')) }}")).render(
            [Message("user", "x")]
        )
    with pytest.raises(TemplateError):
        picky.render([Message("user", "x")])


def test_system_texts_are_merged_into_what_follows() -> None:
    """The next user message carries them; alone they are one."""
    system, user = Message("system", "S"), Message("user", "U")

    assert merged([system, user, user]) == [Message("user", "S\n\nU"), user]
    assert merged([user, system]) == [user, Message("user", "S")]


def test_results_get_the_ids_of_their_calls() -> None:
    """By id, else by name, else in order; names are filled in, own ids kept where they will do."""
    one, two = ToolCall(ToolFunction("f"), "x"), ToolCall(ToolFunction("g"))
    said = [
        Message("assistant", "", tool_calls=(one, two)),
        Message("tool", "G", tool_name="g"),
        Message("tool", "F"),
        Message("tool", "lost"),
        Message("assistant", "", tool_calls=(two,)),
        Message("tool", "other", tool_call_id="nobody's"),
        Message("tool", "G"),
    ]
    found = paired(said, lambda at, call: call_id(Ids.ANY, at, call))

    assert [call.id for call in found[0].tool_calls] == ["x", "call_1"]
    assert [(m.content, m.tool_call_id, m.tool_name) for m in found if m.role == "tool"] == [
        ("G", "call_1", "g"), ("F", "x", "f"), ("lost", "", ""), ("other", "nobody's", ""),
        ("G", "call_2", "g"),
    ]  # fmt: skip


def test_ids_have_the_form_their_templates_insist_on() -> None:
    """Nine letters or digits for Mistral, the function and a number for Kimi."""
    call = ToolCall(ToolFunction("f"), "call_abcdefgh")

    assert call_id(Ids.NINE, 3, call) == "000000003"
    assert call_id(Ids.NINE, 3, ToolCall(ToolFunction("f"), "a23456789")) == "a23456789"
    assert call_id(Ids.NAMED, 3, call) == "functions.f:3"
    assert call_id(Ids.NAMED, 3, ToolCall(ToolFunction("f"), "functions.f:0")) == "functions.f:0"
    assert len(new_id(Ids.NINE)) == 9
    assert new_id(Ids.ANY).startswith("call_")
    assert family_of_template("[TOOL_CALLS]").ids is Ids.NINE
