"""The fake engine's vocabulary: one token per byte, and a few specials.

Text round-trips exactly, a character of several bytes takes several tokens, and token counts can
be worked out in one's head. Used by ``engine/fake.py`` and by tests; never by a real model.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

SPECIALS = {
    b"<s>": 256,
    b"</s>": 257,
    b"<|im_start|>": 258,
    b"<|im_end|>": 259,
}
BOS, EOS, IM_START, IM_END = SPECIALS.values()
SIZE = 256 + len(SPECIALS)

SPELLED: list[bytes] = [bytes([byte]) for byte in range(256)] + list(SPECIALS)
"""Bytes of every token, specials spelled out."""

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Chat template of a fake model unless it is given another."""

_SPECIAL = re.compile(b"|".join(re.escape(text) for text in SPECIALS))


class FakeVocabulary:
    """256 byte tokens, then BOS, EOS, ``<|im_start|>`` and ``<|im_end|>``.

    Fulfils :class:`trillama.engine.base.Vocabulary`. EOS and ``<|im_end|>`` end a generation.
    """

    def __init__(self, *, add_bos: bool = False, fill: bool = False) -> None:
        self.size = SIZE
        self.is_eog: npt.NDArray[np.bool_] = np.zeros(SIZE, np.bool_)
        self.is_eog[[EOS, IM_END]] = True
        self.pieces: list[bytes] = SPELLED[:256] + [b""] * len(SPECIALS)
        self.controls = {text.decode(): token for text, token in SPECIALS.items()}
        self.fill = (BOS, IM_START, IM_END) if fill else None
        self.bos = BOS
        self.eos = EOS
        self.sep = EOS
        self.add_bos = add_bos
        self.add_eos, self.add_sep = False, True

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> npt.NDArray[np.int32]:
        """Tokens of ``text``, int32, shape (n,)."""
        data = text.encode("utf-8", "replace")
        tokens = [self.bos] if add_special and self.add_bos else []
        at = 0
        for found in _SPECIAL.finditer(data) if parse_special else ():
            tokens += data[at : found.start()]
            tokens.append(SPECIALS[found[0]])
            at = found.end()
        tokens += data[at:]
        return np.array(tokens, np.int32)

    def text_of(self, token: int) -> bytes:
        """Bytes of one token with specials spelled out; b"" for an id out of range."""
        return SPELLED[token] if 0 <= token < SIZE else b""
