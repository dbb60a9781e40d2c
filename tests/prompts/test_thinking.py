"""Reasoning and answer are told apart, whatever pieces the text comes in."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trillama.prompts.parsers.thinking import ThinkingSplitter

CASES = [
    ("<think>hm</think>Hi", False, "hm", "Hi"),
    ("  \n<think>\n hm\n</think>\n\n Hi ", False, "hm\n", "Hi "),
    ("Hi <think>no</think>", False, "", "Hi <think>no</think>"),
    ("\n Hi", False, "", "\n Hi"),
    ("<thin air", False, "", "<thin air"),
    ("<think>a</thinkb</think>c<think>d</think>", False, "a</thinkb", "c<think>d</think>"),
    ("<think></think>Hi", False, "", "Hi"),
    ("<think>never ends </thi", False, "never ends </thi", ""),
    ("<think>ends", False, "ends", ""),
    ("<think>only</think>  ", False, "only", ""),
    ("<thi", False, "", "<thi"),
    ("   ", False, "", "   "),
    ("", False, "", ""),
    ("\nhm</think>Hi", True, "hm", "Hi"),
    ("</think>\nHi", True, "", "Hi"),
    ("hm", True, "hm", ""),
    ("<<think>", False, "", "<<think>"),
    ("<think><</think>x", False, "<", "x"),
]


def split(pieces: list[str], inside: bool) -> tuple[str, str]:
    """All reasoning and all content."""
    splitter = ThinkingSplitter("<think>", "</think>", inside=inside)
    parts = [splitter.push(piece) for piece in pieces] + [splitter.finish()]
    return "".join(part[0] for part in parts), "".join(part[1] for part in parts)


@pytest.mark.parametrize(("text", "inside", "thinking", "content"), CASES)
def test_cases(text: str, inside: bool, thinking: str, content: str) -> None:
    """Whole and letter by letter, each text splits the same, right way."""
    assert split([text], inside) == (thinking, content)
    assert split(list(text), inside) == (thinking, content)


tricky = st.lists(
    st.sampled_from(["<think>", "</think>", "<", "</", "think>", "<thi", " ", "\n", "a", "ä", ">"]),
    max_size=12,
).map("".join)


@given(text=tricky, cuts=st.lists(st.integers(0, 60), max_size=12), inside=st.booleans())
def test_chunking_changes_nothing(text: str, cuts: list[int], inside: bool) -> None:
    """Any cutting of a text gives the same reasoning and content."""
    edges = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    assert split(pieces, inside) == split([text], inside)


@given(text=tricky, inside=st.booleans())
def test_nothing_but_tags_and_blanks_is_lost(text: str, inside: bool) -> None:
    """Every letter comes out once and in order; only one pair of tags and blanks may vanish."""
    thinking, content = split([text], inside)
    shown = thinking + content
    letters = [letter for letter in shown if not letter.isspace()]
    rest = iter(letter for letter in text if not letter.isspace())
    assert all(letter in rest for letter in letters)
    assert len("".join(text.split())) - len(letters) <= len("<think></think>")


def test_what_is_safe_is_shown_at_once() -> None:
    """Only a possible beginning of a tag is held back."""
    splitter = ThinkingSplitter("<think>", "</think>")
    assert splitter.push("<think>one") == ("one", "")
    assert splitter.thinking
    assert splitter.push(" two</") == (" two", "")
    assert splitter.push("b") == ("</b", "")
    assert splitter.push("</think>") == ("", "")
    assert not splitter.thinking
    assert splitter.push("\n") == ("", "")
    assert splitter.push("x") == ("", "x")
    assert splitter.push("</think>") == ("", "</think>")
