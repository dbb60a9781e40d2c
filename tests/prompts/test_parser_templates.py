"""Real chat templates choose the family that reads what they write."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.sdist import templates
from tests.support.transcripts import TOOLS, told, tool
from trillama.base.errors import TrillamaError
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.prompts.detect import jinja_uses_tools
from trillama.prompts.render import ChatTemplate

pytestmark = pytest.mark.slow

OFFERED = [
    tool("get_weather", city="string", days="integer", metric="boolean"),
    tool("add", a="number", b="number"),
    tool("save", data="object", tags="array"),
]
for one in OFFERED:
    one["function"]["description"] = "A tool"
    for schema in one["function"]["parameters"]["properties"].values():
        schema["description"] = "A value"
WEATHER = ("get_weather", {"city": "Zürich", "days": 3, "metric": True})
ADD = ("add", {"a": 1, "b": 2.5})
SAVE = ("save", {"data": {"x": [1, {"y": "q"}]}, "tags": ["a", "ß"]})
MADE = {"one": (WEATHER,), "nested": (SAVE,), "two": (ADD, WEATHER)}
SAYS_NOTHING = {
    # Templates that leave calls of the history out of the prompt, so nothing can be compared.
    "LFM2-8B-A1B", "LFM2.5-Instruct", "ibm-granite-granite-3.3-2B-Instruct",
}  # fmt: skip
ONE_ONLY = {"GigaChat3.1-10B-A1.8B", "openai-gpt-oss-120b"}
"""Templates that show the first call alone."""
PYTHON_VALUES = {
    # Templates that write nested values as Python prints them; models write JSON all the same.
    "ByteDance-Seed-OSS", "openbmb-MiniCPM5-1B",
}  # fmt: skip


def written(template: ChatTemplate, calls: tuple[tuple[str, dict[str, Any]], ...]) -> str:
    """What the template writes for an answer with these calls."""
    made = tuple(
        ToolCall(ToolFunction(name, arguments, at), f"abcdefgh{at}")
        for at, (name, arguments) in enumerate(calls)
    )
    asked = [Message("user", "Q?")]
    before = template.render(asked, OFFERED, add_generation_prompt=False)
    answered = [*asked, Message("assistant", "", tool_calls=made)]
    text = template.render(answered, OFFERED, add_generation_prompt=False)[len(before) :]
    return text.removeprefix(template.render(asked, OFFERED)[len(before) :])


def test_what_a_template_writes_its_family_reads() -> None:
    """One call, two calls, nested values, for every template that shows calls."""
    right, wrong, refused, unread = 0, [], [], []
    for name, source in templates().items():
        if not jinja_uses_tools(source) or name in SAYS_NOTHING:
            continue
        template = ChatTemplate(source, "<s>", "</s>")
        if template.family.unread:
            unread.append(name)
            continue
        for case, calls in MADE.items():
            if case == "nested" and name in PYTHON_VALUES:
                continue
            try:
                text = written(template, calls)
            except TrillamaError as error:
                refused.append(f"{name}, {case}: {error.message[:80]}")
                continue
            found = told(template.family.parser(TOOLS), [text])
            shown = calls[:1] if name in ONE_ONLY else calls
            right += found.calls == shown
            if found.calls != shown:
                wrong.append((name, template.family.name, text, found))
    print(f"\n{right} read; unread: {unread}; refused by templates: {refused}")  # noqa: T201
    assert wrong == []
    assert right > 120
