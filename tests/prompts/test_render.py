"""Prompts by chat templates: what templates are told, and what comes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.gguf_bytes import CHATML
from trillama.base.errors import BadRequest, TemplateError
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.prompts.render import ChatTemplate

CHAT = [Message("system", "Be kind."), Message("user", "Hi")]
SHOW = "{{ {'m': messages, 't': tools, 'g': add_generation_prompt} | tojson }}"


def shown(messages: list[Message], **options: Any) -> Any:
    """What a template is told, as JSON."""
    return json.loads(ChatTemplate(SHOW).render(messages, **options))


def test_chatml() -> None:
    """The usual template gives the usual prompt."""
    assert ChatTemplate(CHATML).render(CHAT) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert ChatTemplate(CHATML).render(CHAT, add_generation_prompt=False).endswith("<|im_end|>\n")


def test_what_a_template_is_told() -> None:
    """Arguments are objects, empty things are left out, reasoning has both its names."""
    call = ToolCall(ToolFunction("f", {"b": 1, "a": [None, "ü"]}), id="c1")
    messages = [
        Message("assistant", "", thinking="hm", tool_calls=(call,)),
        Message("tool", "42", tool_name="f", tool_call_id="c1"),
    ]
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert shown(messages, tools=tools) == {
        "m": [
            {
                "role": "assistant",
                "content": "",
                "reasoning_content": "hm",
                "thinking": "hm",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "f", "arguments": {"b": 1, "a": [None, "ü"]}},
                    }
                ],
            },
            {"role": "tool", "content": "42", "name": "f", "tool_call_id": "c1"},
        ],
        "t": tools,
        "g": True,
    }
    assert shown(CHAT)["t"] is None


@pytest.mark.parametrize(
    ("think", "expected"),
    [(None, "unset -"), (True, "True -"), (False, "False -"), ("high", "True high")],
)
def test_thinking_switches(think: bool | str | None, expected: str) -> None:
    """Templates learn of a wish about reasoning only when there is one."""
    source = "{{ enable_thinking | default('unset') }} {{ reasoning_effort | default('-') }}"
    assert ChatTemplate(source).render([], think=think) == expected


def test_begin_and_end_pieces() -> None:
    """Templates can write the begin token; the caller learns that it is there already."""
    template = ChatTemplate(
        "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>", "</s>"
    )
    prompt = template.render(CHAT)
    assert prompt == "<s>Be kind.</s>"
    assert template.begins_with_bos(prompt)
    assert not template.begins_with_bos("Be kind.")
    assert not ChatTemplate("").begins_with_bos("Be kind.")


def test_thinking_that_the_prompt_opens() -> None:
    """A prompt that ends inside the reasoning says so; one that closes it does not."""
    source = "{{ messages[0].content }}{{ '<think>\n' if enable_thinking else '<think></think>' }}"
    template = ChatTemplate(source)
    assert template.thinks
    assert template.starts_inside_thinking(template.render(CHAT, think=True))
    assert not template.starts_inside_thinking(template.render(CHAT, think=False))
    assert not ChatTemplate(CHATML).thinks


def test_continuing_the_last_message() -> None:
    """The prompt ends with the beginning of the answer, no turn opened after it."""
    template = ChatTemplate(CHATML)
    messages = [*CHAT, Message("assistant", "Hi there, ")]
    prompt = template.render(messages, continue_final=True)
    assert prompt.endswith("<|im_start|>assistant\nHi there,")
    with pytest.raises(BadRequest):
        template.render([*CHAT, Message("assistant", "")], continue_final=True)
    with pytest.raises(BadRequest):
        ChatTemplate("{{ 1 }}").render(messages, continue_final=True)


def test_a_short_beginning_is_found_behind_the_turns() -> None:
    """What the last message says may stand elsewhere in the prompt too; blanks at its end go."""
    messages = [*CHAT, Message("assistant", "i ")]
    assert ChatTemplate(CHATML).render(messages, continue_final=True).endswith("assistant\ni")


def test_the_most_thinking_of_gpt_oss_is_high() -> None:
    """Its templates know no more."""
    source = "{{ messages[0].content }}{# <|channel|>analysis #}{{ reasoning_effort }}"
    assert ChatTemplate(source).render(CHAT, think="max") == "Be kind.high"
    assert ChatTemplate(source).thinks


def test_a_refusal_is_the_callers_fault() -> None:
    """raise_exception is a bad request in the template's own words."""
    with pytest.raises(BadRequest, match=r"^roles must alternate$"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}").render(CHAT)


@pytest.mark.parametrize("source", ["{% if %}", "{{ x.y.z }}", "{{ 1 / 0 }}", "{{ 'a' | nope }}"])
def test_a_broken_template_is_the_models_fault(source: str) -> None:
    """What fails inside a template is a template error, never a bare exception."""
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(CHAT)


def test_without_a_template() -> None:
    """A model without a template gets the texts alone."""
    template = ChatTemplate("")
    assert template.render([Message("user", "Once upon")]) == "Once upon"
    talk = [*CHAT, Message("user", "there"), Message("assistant", "Hello"), Message("user", "?")]
    assert template.render(talk) == "Be kind.\n\nHi\n\nthereHello?"
    assert (template.thinks, template.uses_tools) == (False, False)
