"""Real chat templates render as transformers renders them."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from tests.support.sdist import templates
from tests.support.transcripts import tool
from trillama.base.errors import TrillamaError
from trillama.prompts.jinja import render_template

pytestmark = pytest.mark.slow

TOOLS = [
    tool(
        "get_weather", city={"type": "string", "description": "The <city> & more"}, days="integer"
    ),
    tool(
        "save", data={"type": "object", "properties": {"x": {"type": "array"}}}, how={"enum": [1]}
    ),
]
for number, one in enumerate(TOOLS):
    one["function"]["description"] = f"Tool {number} – „ä“"
    one["function"]["parameters"]["required"] = list(one["function"]["parameters"]["properties"])
SYSTEM = {"role": "system", "content": "Be kind.\n"}
HI = {"role": "user", "content": " Hi <b>'you'</b> & \"me\" "}
HELLO = {"role": "assistant", "content": "Hello\n\n there"}


def call(arguments: Any, content: Any = "", **more: Any) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": arguments}
    made = {"id": "abcdefgh0", "type": "function", "function": function}
    return {"role": "assistant", "content": content, "tool_calls": [made], **more}


RESULT = {
    "role": "tool", "content": '{"sky": "ü"}', "name": "get_weather", "tool_call_id": "abcdefgh0",
}  # fmt: skip
ARGUMENTS = {"city": "Zürich", "days": 3}
THOUGHT = {"reasoning_content": "Hm.\nSo", "thinking": "Hm.\nSo"}
CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "plain": ([HI], {}),
    "plain, no prompt": ([HI], {"add_generation_prompt": False}),
    "turns": ([HI, HELLO, HI], {}),
    "system": ([SYSTEM, HI], {}),
    "system and turns": ([SYSTEM, HI, HELLO, HI], {}),
    "late system": ([HI, HELLO, SYSTEM, HI], {}),
    "two users": ([HI, HI], {}),
    "answered": ([SYSTEM, HI, HELLO], {"add_generation_prompt": False}),
    "tools": ([HI], {"tools": TOOLS}),
    "system and tools": ([SYSTEM, HI], {"tools": TOOLS}),
    "tools and turns": ([SYSTEM, HI, HELLO, HI], {"tools": TOOLS}),
    "call": ([HI, call(ARGUMENTS)], {"tools": TOOLS, "add_generation_prompt": False}),
    "call, text": ([HI, call('{"city": "Z"}')], {"tools": TOOLS}),
    "call, no content": ([HI, call(ARGUMENTS, None), RESULT], {"tools": TOOLS}),
    "result": ([SYSTEM, HI, call(ARGUMENTS), RESULT], {"tools": TOOLS}),
    "content and result": ([HI, call(ARGUMENTS, "Let me see."), RESULT], {"tools": TOOLS}),
    "two results": ([HI, call(ARGUMENTS), RESULT, RESULT], {"tools": TOOLS}),
    "result and answer": ([HI, call(ARGUMENTS), RESULT, HELLO, HI], {"tools": TOOLS}),
    "result without tools": ([HI, call(ARGUMENTS), RESULT], {}),
    "thought": ([HI, HELLO | THOUGHT, HI], {}),
    "thought in content": ([HI, HELLO | {"content": "<think>\nHm\n</think>\n\nOh"}, HI], {}),
    "thought before a call": ([HI, call(ARGUMENTS, **THOUGHT), RESULT], {"tools": TOOLS}),
    "thinking": ([HI], {"enable_thinking": True, "thinking": True}),
    "no thinking": ([SYSTEM, HI], {"enable_thinking": False, "thinking": False}),
    "effort": ([HI], {"enable_thinking": True, "reasoning_effort": "high", "tools": TOOLS}),
    "nobody": ([], {}),
}


def variables(messages: list[dict[str, Any]], options: dict[str, Any]) -> dict[str, Any]:
    kept = [{k: v for k, v in message.items() if v is not None} for message in messages]
    usual = {"tools": None, "documents": None, "add_generation_prompt": True}
    return usual | {"messages": kept, "bos_token": "<s>", "eos_token": "</s>"} | options


def wanted(source: str, known: dict[str, Any]) -> str:
    options = {key: value for key, value in known.items() if key != "messages"}
    texts, _ = render_jinja_template([known["messages"]], chat_template=source, **options)
    return str(texts[0])


def test_templates_render_as_transformers_renders_them() -> None:
    """Wherever transformers accepts a conversation, the text is the same to the letter."""
    accepted, refused, different = 0, 0, []
    for name, source in templates().items():
        for case, (messages, options) in CONVERSATIONS.items():
            known = variables(messages, options)
            try:
                text = wanted(source, known)
            except Exception:
                refused += 1
                continue
            accepted += 1
            try:
                ours = render_template(source, known)
            except TrillamaError as error:
                ours = repr(error)
            if ours != text and not _past_midnight(ours, text):
                different.append((name, case, ours[:300], text[:300]))
    same = accepted - len(different)
    print(  # noqa: T201
        f"\n{len(templates())} templates x {len(CONVERSATIONS)} conversations: "
        f"{same} of {accepted} the same; transformers refuses {refused}"
    )
    assert different == []
    assert accepted > 1000


def _past_midnight(ours: str, text: str) -> bool:
    now = datetime.datetime.now()
    return now.hour == now.minute == 0 and len(ours) == len(text)
