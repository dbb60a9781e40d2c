"""WordPiece is that of the tokenizers library, whatever the script."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from tests.support.minilm import EDGES, SCRIPTS
from tests.support.tiny_bert import SPECIALS
from trillama.engine.wordpiece import WordPiece
from trillama.models.convert.wordpiece import phantom_spaces

LETTERS = sorted(
    {
        character
        for text in (*SCRIPTS, *EDGES, "abcdefghijklmnopqrstuvwxyz0123456789ἀéß")
        for form in (text, unicodedata.normalize("NFD", text.lower()))
        for character in form
        if not character.isspace()
    }
)
VOCABULARY = [*SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS), "hello", "##llo", "he"]


def ours(**options: bool) -> WordPiece:
    texts = [phantom_spaces(token) for token in VOCABULARY]
    return WordPiece(texts, range(len(SPECIALS)), 1, **options)


def theirs(**options: bool) -> BertWordPieceTokenizer:
    ids = {token: number for number, token in enumerate(VOCABULARY)}
    return BertWordPieceTokenizer(ids, **options)  # type: ignore[arg-type]


def same(text: str, **options: bool) -> bool:
    wanted = theirs(**options).encode(text, add_special_tokens=False).ids
    return ours(**options).tokenize(text) == wanted


def test_every_script() -> None:
    """Vowel signs stay, Hangul is taken apart, Chinese characters stand alone."""
    assert [text for text in (*SCRIPTS, *EDGES) if not same(text)] == []


def test_cased_models() -> None:
    """Where the model keeps case and accents, so does its tokenizer."""
    for text in ("Hello Ångström İ", *SCRIPTS):
        assert same(text, lowercase=False, strip_accents=False), text


@given(st.text(st.sampled_from(LETTERS) | st.sampled_from(" .\t-'AÉÜΣ"), max_size=40))
def test_any_text_of_known_letters(text: str) -> None:
    """Also where words, signs and accents meet at random."""
    assert same(text), unicodedata.normalize("NFD", text)


def test_special_tokens_are_a_choice() -> None:
    """Spelled out they are control tokens, or the words and signs they are made of."""
    words = ours()
    assert words.tokenize("[SEP]")[:1] == [3]
    assert 3 not in words.tokenize("[SEP]", parse_special=False)


def test_overlong_words_are_unknown() -> None:
    """As in training; a hundred letters are the most."""
    assert ours().tokenize("a" * 101) == [1]
    assert len(ours().tokenize("a" * 100)) == 100
