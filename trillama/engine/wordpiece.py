"""WordPiece as the models were trained with it: BERT's own rules for words, in Python.

llama.cpp's version takes the vowel signs of Indic scripts for accents, leaves Hangul whole and
cuts words of any length, so texts in those scripts would get vectors of other texts. The rules are
those of Hugging Face's tokenizers, which are the truth here: clean the text, set Chinese characters
apart, decompose and drop accents, lower-case, split at spaces and punctuation, then the longest
pieces first.

Most work is done by ``str.translate`` with tables that fill themselves, and words are remembered.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

LONGEST_WORD = 100
"""Characters; a longer word is one unknown token."""

REMEMBERED = 65_536
"""Words; then everything is forgotten at once."""

_SPACE = "▁"
_KEPT = frozenset("\t\n\r")
_CHINESE = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class _Table(dict[int, str]):
    """What each character becomes, worked out when it is met first."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, code: int) -> str:
        found = self[code] = self._rule(chr(code))
        return found


def _clean(character: str) -> str:
    if character in _KEPT:
        return " "
    if character in "\0\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs"):
        return ""
    if any(first <= ord(character) <= last for first, last in _CHINESE):
        return f" {character} "
    return " " if character.isspace() else character


def _without_accent(character: str) -> str:
    return "" if unicodedata.category(character) == "Mn" else character


def _apart(character: str) -> str:
    ascii_sign = character.isascii() and character.isprintable() and not character.isalnum()
    if (ascii_sign and character != " ") or unicodedata.category(character)[0] == "P":
        return f" {character} "
    return character


_CLEAN, _ACCENTS, _WORDS = _Table(_clean), _Table(_without_accent), _Table(_apart)
_LOWER = _Table(str.lower)


def words(text: str, *, lowercase: bool, strip_accents: bool) -> list[str]:
    """The words of a text, normalised."""
    text = text.translate(_CLEAN)
    if strip_accents and not text.isascii():
        text = unicodedata.normalize("NFD", text).translate(_ACCENTS)
    if lowercase:
        # Character by character: the whole string's rule would end words with another sigma.
        text = text.lower() if text.isascii() else text.translate(_LOWER)
    return text.translate(_WORDS).split()


class WordPiece:
    """A vocabulary of words and their continuations.

    Args:
        tokens: texts by id, those that begin a word with U+2581 in front.
        specials: ids of control tokens, found in texts as they are spelled.
        unknown: id of the token for words that cannot be spelled.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        specials: Sequence[int],
        unknown: int,
        *,
        lowercase: bool = True,
        strip_accents: bool | None = None,
    ) -> None:
        self._ids: Mapping[str, int] = {text: number for number, text in enumerate(tokens)}
        self._longest = max(map(len, tokens), default=0)
        self._unknown = unknown
        self._lowercase = lowercase
        self._strip_accents = lowercase if strip_accents is None else strip_accents
        self._known: dict[str, list[int]] = {}
        self._specials = {tokens[number]: number for number in specials if tokens[number]}
        spelled = sorted(map(re.escape, self._specials), key=len, reverse=True)
        self._special = re.compile(f"({'|'.join(spelled)})") if spelled else None

    def tokenize(self, text: str, *, parse_special: bool = True) -> list[int]:
        """Tokens of ``text``, without any around it."""
        if self._special is None or not parse_special:
            return self._plain(text)
        found: list[int] = []
        for at, part in enumerate(self._special.split(text)):
            found += [self._specials[part]] if at % 2 else self._plain(part)
        return found

    def _plain(self, text: str) -> list[int]:
        known = self._known
        if len(known) > REMEMBERED:
            self._known = known = {}
        found: list[int] = []
        for word in words(text, lowercase=self._lowercase, strip_accents=self._strip_accents):
            pieces = known.get(word)
            if pieces is None:
                pieces = known[word] = self._pieces(word)
            found += pieces
        return found

    def _pieces(self, word: str) -> list[int]:
        if len(word) > LONGEST_WORD:
            return [self._unknown]
        found: list[int] = []
        rest = _SPACE + word
        while rest:
            for length in range(min(len(rest), self._longest), 0, -1):
                if (number := self._ids.get(rest[:length])) is not None and rest[:length] != _SPACE:
                    break
            else:
                return [self._unknown]
            found.append(number)
            rest = rest[length:]
        return found
