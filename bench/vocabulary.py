"""A byte-level vocabulary of any size in which every space-led word of two letters is one token.

Words grow to the right: the token ` abc` is the merge of ` ab` and `c`. So every prefix of a token
is a token, the merges reach each of them by one road only, and a prompt of n known words is n
tokens by construction. `make_model` writes the vocabulary, the load generator picks its words.
"""

from __future__ import annotations

import itertools
import string
from dataclasses import dataclass

#: The tokens that end or frame a turn, in ChatML; the last one is the end of a generation.
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SPACE = "\u0120"  # how byte-level BPE writes the byte 0x20
N_BYTES = 256
#: All words of one and of two letters must fit, because prompts are made of the latter.
MIN_SIZE = N_BYTES + 26 + 26 * 26 + len(SPECIALS)
CHAT_TEMPLATE = (
    "{%- for m in messages -%}"
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in id order: 256 bytes, then words, then `SPECIALS`."""

    tokens: list[str]
    merges: list[str]

    @property
    def first_word(self) -> int:
        return N_BYTES

    @property
    def first_special(self) -> int:
        return len(self.tokens) - len(SPECIALS)

    @property
    def eos_id(self) -> int:
        return len(self.tokens) - 1


def byte_tokens() -> list[str]:
    """The 256 byte tokens under GPT-2's mapping: printable bytes stand for themselves, the others
    for the code points from 256 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = itertools.count(256)
    return [chr(b) if b in printable else chr(next(spare)) for b in range(N_BYTES)]


def build_vocabulary(size: int) -> Vocabulary:
    """A vocabulary of exactly `size` tokens. Raises ValueError below `MIN_SIZE`."""
    if size < MIN_SIZE:
        raise ValueError(f"a vocabulary needs at least {MIN_SIZE} tokens, not {size}")
    n_words = size - N_BYTES - len(SPECIALS)
    pairs = list(itertools.islice(_growing_pairs(), n_words))
    words = [left + right for left, right in pairs]
    return Vocabulary(
        tokens=[*byte_tokens(), *words, *SPECIALS],
        merges=[f"{left} {right}" for left, right in pairs],
    )


def _growing_pairs() -> itertools.chain[tuple[str, str]]:
    """Endless (stem, letter) merges, shortest words first."""
    levels = (
        ((SPACE + "".join(stem), letter) for *stem, letter in _letters(length))
        for length in itertools.count(1)
    )
    return itertools.chain.from_iterable(levels)


def _letters(length: int) -> itertools.product[tuple[str, ...]]:
    return itertools.product(string.ascii_lowercase, repeat=length)


def prompt_words() -> list[str]:
    """The 676 words of two letters, each with its leading space: one token each."""
    return [" " + a + b for a, b in _letters(2)]
