"""Guessing the next tokens from those there are."""

from __future__ import annotations

import random

import numpy as np
import pytest

from trillama.engine.drafts import LEAST_MATCH, MOST_MATCH, PromptLookup, continuation


def array(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.int32)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([1, 2, 3, 4, 5, 1, 2, 3], [4, 5, 1, 2]),
        ([1, 2, 3, 9, 1, 2, 3, 8, 1, 2, 3], [8, 1, 2, 3]),  # the latest of equals
        ([0, 1, 2, 3, 9, 7, 1, 2, 3, 8, 0, 1, 2, 3], [9, 7, 1, 2]),  # the longest match
        ([5, 5, 5, 5, 5], [5]),
        ([1, 2, 9, 1, 2], []),  # two tokens are too few
        ([1, 2, 3], []),
        ([1], []),
        ([], []),
    ],
)
def test_what_followed_the_most_alike_place(tokens: list[int], expected: list[int]) -> None:
    """The longest match wins, then the latest; the place itself is none."""
    assert continuation(array(*tokens), 4) == expected


def slow(tokens: list[int], most: int) -> list[int]:
    """The same by looking at every place."""
    best, at = LEAST_MATCH - 1, -1
    for end in range(len(tokens) - 1):
        same = 0
        while same < min(MOST_MATCH, end + 1) and tokens[end - same] == tokens[-1 - same]:
            same += 1
        if same >= max(best, LEAST_MATCH):
            best, at = same, end
    return tokens[at + 1 : at + 1 + most] if at >= 0 else []


def test_it_agrees_with_a_search_by_hand() -> None:
    """Over random texts of few letters, where everything is like something."""
    chooser = random.Random(1)
    for _ in range(400):
        tokens = chooser.choices(range(3), k=chooser.randrange(80))
        assert continuation(array(*tokens), 5) == slow(tokens, 5), tokens


def test_a_lookup_follows_an_answer_as_it_grows() -> None:
    """Whatever comes in pieces is as if it had been there at once; a new prompt begins anew."""
    chooser = random.Random(2)
    lookup, fresh = PromptLookup(), list[int]()
    known = array(*chooser.choices(range(4), k=50))
    for _ in range(300):
        fresh += chooser.choices(range(4), k=chooser.randrange(4))
        lookup.follow(known, fresh)
        assert lookup.propose(6) == continuation(np.append(known, array(*fresh)), 6)
    shorter, fresh = known[10:], []
    lookup.follow(shorter, fresh)
    assert lookup.propose(6) == continuation(shorter, 6)
    assert lookup.propose(0) == []
