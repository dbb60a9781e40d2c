"""The generated vocabulary: sizes, bytes, and merges that reach every word."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bench.vocabulary import (
    MIN_SIZE,
    SPACE,
    SPECIALS,
    build_vocabulary,
    byte_tokens,
    prompt_words,
)


def merged(word: str, merges: list[str]) -> list[str]:
    """Byte-pair encoding by its definition: the best-ranked neighbours merge first."""
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    parts = list(word)
    while True:
        pairs = [(ranks[p], i) for i, p in enumerate(pairwise(parts)) if p in ranks]
        if not pairs:
            return parts
        at = min(pairs)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


@pytest.mark.parametrize("size", [MIN_SIZE, 1100, 32000])
def test_a_vocabulary_has_the_size_asked_for(size: int) -> None:
    """All tokens differ, the specials are last, and there is one merge for each word."""
    vocab = build_vocabulary(size)

    assert len(set(vocab.tokens)) == size
    assert tuple(vocab.tokens[vocab.first_special :]) == SPECIALS
    assert len(vocab.merges) == vocab.first_special - vocab.first_word


def test_a_vocabulary_too_small_for_the_prompts_is_refused() -> None:
    """Below MIN_SIZE the two-letter words do not fit."""
    with pytest.raises(ValueError, match="at least"):
        build_vocabulary(MIN_SIZE - 1)


def test_every_prompt_word_is_one_token() -> None:
    """Encoding a prompt word ends in a single token of the smallest vocabulary."""
    vocab = build_vocabulary(MIN_SIZE)

    for word in prompt_words():
        assert merged(word.replace(" ", SPACE), vocab.merges) == [word.replace(" ", SPACE)]
    assert len(prompt_words()) == 676


def test_long_words_are_reached_through_their_prefixes() -> None:
    """The last word of a large vocabulary is built letter by letter."""
    vocab = build_vocabulary(32000)
    last = vocab.tokens[vocab.first_special - 1]

    assert len(last) == 5
    assert merged(last, vocab.merges) == [last]


def test_bytes_map_as_in_gpt2() -> None:
    """Printable bytes stand for themselves; space and newline have their known stand-ins."""
    tokens = byte_tokens()

    assert tokens[ord("a")] == "a"
    assert tokens[0x20] == SPACE
    assert tokens[0x0A] == "\u010a"
    assert len(set(tokens)) == 256
