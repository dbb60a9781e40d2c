"""What a Jinja template can do, read from its text without running it.

The rules are Ollama's for templates in the weights, and a table of further thinking tags, so that
models whose tags are not ``<think>`` are recognised too.
"""

from __future__ import annotations

import msgspec


class ThinkingTags(msgspec.Struct, frozen=True):
    """What opens and closes the reasoning in a model's output."""

    open: str
    close: str


_TAGS = (
    ThinkingTags("<think>", "</think>"),
    ThinkingTags("[THINK]", "[/THINK]"),
    ThinkingTags("<thinking>", "</thinking>"),
    ThinkingTags("<reasoning>", "</reasoning>"),
    ThinkingTags("<seed:think>", "</seed:think>"),
    ThinkingTags("<|START_THINKING|>", "<|END_THINKING|>"),
    ThinkingTags("<|inner_prefix|>", "<|inner_suffix|>"),
    ThinkingTags("<|channel>thought", "<channel|>"),
)
_CHANNEL = "<|channel|>analysis"
"""Reasoning without tags: a message of its own, which the parser of gpt-oss reads."""
_SPLITS = ("content.split('</think>')", 'content.split("</think>")')


def jinja_uses_tools(source: str) -> bool:
    """True when a Jinja chat template mentions tools."""
    return "tools" in source or "tool_call" in source


def jinja_thinking_tags(source: str) -> ThinkingTags | None:
    """Tags of the reasoning a Jinja chat template knows of, None when it knows none."""
    for tags in _TAGS:
        if tags.open in source and tags.close in source:
            return tags
    splits = any(split in source for split in _SPLITS)
    # These two mark templates that only remove reasoning they are handed separately.
    if splits and "reasoning_content" not in source and "<SPECIAL_12>" not in source:
        return _TAGS[0]
    return None


def jinja_thinks(source: str) -> bool:
    """True when a Jinja chat template knows of reasoning."""
    return _CHANNEL in source or jinja_thinking_tags(source) is not None
