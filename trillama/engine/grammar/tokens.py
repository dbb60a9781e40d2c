"""A vocabulary as llguidance wants to see it.

llguidance asks for the tokens of text that a grammar forces, so that such text is split as the
model is used to. Only short pieces are handed to the vocabulary at a time: its pre-tokenizer may
recurse once per character, and this runs on threads with ordinary stacks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from llguidance import LLTokenizer, TokenizerWrapper

from trillama.base.errors import TrillamaError
from trillama.engine.base import Vocabulary

PART = 256
"""Characters tokenised at a time."""

_SPECIAL = b"\xff"
"""In front of tokens without text, as llguidance marks them; no UTF-8 begins with it."""
_LEADS = ("", "\n")
"""What to put in front: some vocabularies begin every text with a blank of their own."""


class _Tokens:
    """What ``TokenizerWrapper`` asks of a tokenizer."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        ends = np.flatnonzero(vocabulary.is_eog).tolist()
        self.eos_token_id = vocabulary.eos if vocabulary.eos >= 0 else (ends or [0])[0]
        self.bos_token_id = None
        self.tokens = list(vocabulary.pieces)
        names = {token: name for name, token in vocabulary.controls.items()}
        self.special_token_ids = [at for at, piece in enumerate(self.tokens) if not piece]
        for token in self.special_token_ids:
            name = names.get(token) or f"<|token {token}|>"
            self.tokens[token] = _SPECIAL + name.encode("utf-8", "replace")

    def __call__(self, data: bytes) -> list[int]:
        text = data.decode("utf-8", "replace")
        found: list[int] = []
        try:
            for begin in range(0, len(text), PART):
                found += self._exact(text[begin : begin + PART])
        except TrillamaError:  # the model is being closed
            return []
        return found

    def _exact(self, text: str) -> list[int]:
        """Tokens whose bytes are those of ``text`` and no more; none if that cannot be."""
        data = text.encode()
        for lead in _LEADS:
            tokens = self._vocabulary.tokenize(lead + text, add_special=False, parse_special=False)
            for start, rest in _endings(tokens.tolist(), self._vocabulary.pieces):
                if rest == data:
                    kept: list[int] = tokens[start:].tolist()
                    return kept
        return []


def _endings(tokens: list[int], pieces: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """The bytes of the tokens, and of what is left without the first, the first two…"""
    for start in range(min(3, len(tokens))):
        yield start, b"".join(pieces[token] for token in tokens[start:])


def grammar_tokenizer(vocabulary: Vocabulary) -> LLTokenizer:
    """Build the tables llguidance needs; a third of a second for 128,000 tokens, with the GIL.

    Every token that ends a generation counts as an end.
    """
    ends = np.flatnonzero(vocabulary.is_eog).tolist()
    tokens = TokenizerWrapper(_Tokens(vocabulary))
    return LLTokenizer(tokens, n_vocab=vocabulary.size, eos_token=ends or None)
