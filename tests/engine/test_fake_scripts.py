"""The fake's vocabulary loses no text, and its scripts say what they promise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.speaking import CHAT, VOCABULARY, answer
from trillama.engine.fake import (
    FakeVocabulary,
    babble,
    babble_for,
    count,
    echo_canary,
    fixed,
    open_fake_context,
    replies,
)
from trillama.engine.fake_cells import Cell, History

# --- vocabulary ---


def test_text_and_specials_round_trip() -> None:
    """Any text comes back byte for byte; specials are one token each, and spelled by text_of."""
    text = "naïve 🦙<|im_start|>x<|im_end|>"
    tokens = VOCABULARY.tokenize(text)
    assert b"".join(map(VOCABULARY.text_of, tokens.tolist())).decode() == text
    assert (tokens >= 256).sum() == 2
    assert (VOCABULARY.tokenize(text, parse_special=False) < 256).all()


def test_bos_is_added_only_where_the_model_wants_it() -> None:
    """add_special puts BOS in front exactly when add_bos is set."""
    adding = FakeVocabulary(add_bos=True)
    assert adding.tokenize("a").tolist() == [adding.bos, 97]
    assert adding.tokenize("a", add_special=False).tolist() == [97]
    assert VOCABULARY.tokenize("a").tolist() == [97]


def test_control_tokens_are_not_shown() -> None:
    """Pieces of specials are empty, ids out of range spell nothing."""
    assert VOCABULARY.pieces[VOCABULARY.eos] == b""
    assert VOCABULARY.text_of(-1) == VOCABULARY.text_of(VOCABULARY.size) == b""
    assert len(VOCABULARY.pieces) == VOCABULARY.size == len(VOCABULARY.is_eog)


# --- scripts ---


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (CHAT.format("Repeat: a canary 42"), "a canary 42"),
        (CHAT.format('Please. Repeat: "one two" and stop.'), "one two"),
        (CHAT.format("Repeat: old<|im_end|>\n<|im_start|>user\nRepeat: new"), "new"),
        ('Repeat: "raw"', "raw"),
        ("Repeat: bare", "\nbare"),
        ("Repeat: line\n", "line"),
        (CHAT.format("Repeat: höhe 🦙"), "höhe 🦙"),
        ("nothing to say", ""),
    ],
)
def test_the_canary_comes_back(prompt: str, said: str) -> None:
    """The last ``Repeat: X`` is answered with X, in chats and in bare prompts."""
    assert answer(open_fake_context(echo_canary), prompt) == said


def test_a_fixed_reply_is_said_to_anything() -> None:
    """Also one that repeats itself, and with a prompt that carries no mark of its end."""
    for reply in ("aaaa", "abab", "ünïcode", ""):
        context = open_fake_context(fixed(reply))
        assert answer(context, CHAT.format("hi")) == reply
        assert answer(context, "bare prompt:") == reply


@given(st.text("ab", max_size=30), st.text("ab", max_size=6), st.integers(0, 5))
def test_progress_is_the_longest_beginning_at_the_end(text: str, reply: str, start: int) -> None:
    """What scripts go by, asked after every token, is the plain definition of it."""
    history, pattern = History(), reply.encode()
    for at, token in enumerate(text.encode()):
        history.see(Cell(token, at, history.content_of(token, ()), {0}))
        seen = bytes(history.text[start:])
        longest = max(n for n in range(len(pattern) + 1) if seen.endswith(pattern[:n]))
        assert history.matched(pattern, start) == longest


def test_count_is_exactly_so_many_tokens() -> None:
    """count(n) says n tokens, whatever the prompt."""
    for tokens in (0, 1, 7, 150):
        assert len(answer(open_fake_context(count(tokens)), "go:")) == tokens


def test_replies_are_chosen_by_what_was_said_last() -> None:
    """The key nearest to the end decides; nothing known gets the default."""
    context = open_fake_context(replies({"ping": "pong", "knock": "who?"}, "what?"))
    assert answer(context, CHAT.format("ping, no: knock")) == "who?"
    assert answer(context, CHAT.format("knock, no: ping")) == "pong"
    assert answer(context, CHAT.format("hello")) == "what?"


def test_babble_never_ends_and_babble_for_does() -> None:
    """babble goes on to the limit; babble_for(n) ends after n tokens."""
    assert len(answer(open_fake_context(babble), CHAT.format("x"), limit=300)) == 300
    assert len(answer(open_fake_context(babble_for(12)), CHAT.format("x"))) == 12
