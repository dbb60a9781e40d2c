"""What a template can do is read from its text as Ollama reads it."""

from __future__ import annotations

import pytest

from trillama.prompts.detect import (
    ThinkingTags,
    jinja_thinking_tags,
    jinja_uses_tools,
)

THINK = ThinkingTags("<think>", "</think>")


@pytest.mark.parametrize(
    ("source", "tags"),
    [
        ("", None),
        ("{{ '<think>' }}", None),
        ("{{ '<think>' + x + '</think>' }}", THINK),
        ("{{ content.split('</think>')[-1] }}", THINK),
        ('{{ content.split("</think>")[-1] }}', THINK),
        ("{{ content.split('</think>')[-1] }}{{ reasoning_content }}", None),
        ("{{ content.split('</think>')[-1] }}<SPECIAL_12>", None),
        ("[THINK]{{ x }}[/THINK]", ThinkingTags("[THINK]", "[/THINK]")),
    ],
)
def test_thinking_tags(source: str, tags: ThinkingTags | None) -> None:
    """Both tags, or the removal of reasoning from earlier answers, mean that the model reasons."""
    assert jinja_thinking_tags(source) == tags


def test_tools() -> None:
    """Mentioning tools is enough."""
    assert jinja_uses_tools("{% for tool in tools %}")
    assert jinja_uses_tools("{{ message.tool_call }}")
    assert not jinja_uses_tools("{{ messages }}")
