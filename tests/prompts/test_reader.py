"""Reasoning and tool calls in one answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transcripts import NOW, TOOLS, Told, cut, splits, told
from trillama.prompts.parsers.hermes import HERMES
from trillama.prompts.parsers.reader import Reader
from trillama.prompts.parsers.thinking import ThinkingSplitter

CALL = '<tool_call>{"name": "now"}</tool_call>'


def reader(*, inside: bool = False) -> Reader:
    splitter = ThinkingSplitter("<think>", "</think>", inside=inside, interrupts=HERMES.openings)
    return Reader(splitter, HERMES.parser(TOOLS))


@pytest.mark.parametrize(
    ("text", "inside", "wanted"),
    [
        (f"<think>hm</think>\n\n{CALL}", False, Told("", (NOW,), thinking="hm")),
        (f"hm\n</think>\n\nSo {CALL} ok", True, Told("Sook", (NOW,), thinking="hm\n")),
        (f"hm {CALL}", True, Told("", (NOW,), thinking="hm ")),
        (f"<think>hm{CALL}</think>", False, Told("</think>", (NOW,), thinking="hm")),
        (f"{CALL}<think>", False, Told("<think>", (NOW,))),
        ("<think>hm", False, Told("", thinking="hm")),
        ("hm </tool_call> </think>x", True, Told("x", thinking="hm </tool_call> ")),
    ],
)
def test_calls_come_after_the_reasoning(text: str, inside: bool, wanted: Told) -> None:
    """Whatever the pieces; a call inside the reasoning ends it."""
    for pieces in splits(text):
        assert told(reader(inside=inside), pieces) == wanted, pieces


def test_without_reasoning_or_calls_all_is_content() -> None:
    """A reader of nothing passes the text on at once."""
    nothing = Reader(None, None)
    assert nothing.push("<think>").content == "<think>"
    assert (nothing.finish().content, nothing.malformed) == ("", False)


BITS = ["<think>", "</think>", "<tool_call>", "</tool_call>", '{"name":"now"}', "{", "}"]
BITS += ["<", "too", "a", "ä", '"', "\\"]
tricky = st.lists(st.sampled_from([*BITS, CALL, " ", "\n"]), max_size=12).map("".join)


@given(text=tricky, cuts=st.lists(st.integers(0, 120), max_size=12), inside=st.booleans())
def test_streamed_and_whole_are_the_same(text: str, cuts: list[int], inside: bool) -> None:
    """Any cutting of any text gives the same reasoning, content and calls."""
    assert told(reader(inside=inside), cut(text, cuts)) == told(reader(inside=inside), [text])
