"""Text to tokens and back, by llama.cpp.

The bytes of every token are read once, at load, so that turning an answer into text is a list
look-up. Any number of threads may use a vocabulary at once; closing it waits for those inside.

Some pre-tokenizers of llama.cpp run std::regex, which recurses once per character of a run of
equal class (gpt-oss, Mistral's tekken, DeepSeek): ``tokenize`` must run on a thread with a stack
of hundreds of MiB, which ``runner_pool`` provides, or a line of 60 000 spaces ends the process.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from trillama.base.errors import BadRequest, EngineError, ModelLoadError

from .library import lib, quick
from .wordpiece import WordPiece

MAX_TEXT_BYTES = 1 << 30
"""Lengths and token counts are 32-bit in llama.cpp."""
_NO_VOCABULARY, _WORDPIECE = 0, 3
_USUAL_PIECE = 64
"""Bytes that nearly every token has room in."""
_UNKNOWN, _CONTROL = lib.LLAMA_TOKEN_ATTR_UNKNOWN, lib.LLAMA_TOKEN_ATTR_CONTROL


def _quick(name: str, result: Any, *arguments: Any) -> Any:
    function = quick[name]
    function.restype, function.argtypes = result, arguments
    return function


# The tables need two calls per token; dropping the GIL for each would cost more than the call.
_piece = _quick(
    "llama_token_to_piece", ctypes.c_int32,
    ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_bool,
)  # fmt: skip
_text = _quick("llama_vocab_get_text", ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int32)
_attributes = _quick("llama_vocab_get_attr", ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)

# Called for every token of every load with arguments that are C's already, so without declared
# types: converting them would take longer than the calls.
_piece_into = quick["llama_token_to_piece"]
_is_eog = quick["llama_vocab_is_eog"]
_is_eog.restype = ctypes.c_bool


class _Gate:
    """Counts the threads inside, so that closing can wait for them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    @contextmanager
    def pass_through(self) -> Iterator[None]:
        with self._changed:
            if self._closed:
                raise EngineError("the model is closed")
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._inside)


class LlamaVocabulary:
    """The vocabulary of a loaded model; see ``base.Vocabulary``.

    Attributes:
        suppressed: int32 ids the model must never produce (``tokenizer.ggml.suppress_tokens``);
            ``Context.logits`` has -inf there.
    """

    def __init__(
        self, pointer: int, *, lowercase: bool = True, strip_accents: bool | None = None
    ) -> None:
        """Read the tables of the vocabulary at ``pointer``.

        Args:
            lowercase, strip_accents: what WordPiece does to texts.

        Raises:
            ModelLoadError: the vocabulary is missing or would abort the process when used.
        """
        self._pointer = pointer
        self._gate = _Gate()
        if lib.llama_vocab_type(pointer) == _NO_VOCABULARY:
            raise ModelLoadError("the model has no vocabulary")
        self.size: int = lib.llama_vocab_n_tokens(pointer)
        self.bos: int = lib.llama_vocab_bos(pointer)
        self.eos: int = lib.llama_vocab_eos(pointer)
        self.sep: int = lib.llama_vocab_sep(pointer)
        self.add_bos: bool = lib.llama_vocab_get_add_bos(pointer)
        self.add_eos: bool = lib.llama_vocab_get_add_eos(pointer)
        self.add_sep: bool = lib.llama_vocab_get_add_sep(pointer)
        self._check_specials()
        self.pieces = _spell_all(pointer, self.size)
        self.controls = {
            _spell(pointer, token, special=True).decode("utf-8", "replace"): token
            for token, piece in enumerate(self.pieces)
            if not piece
        }
        self.fill = _fill(pointer, self.size)
        ends = map(_is_eog, repeat(ctypes.c_void_p(pointer)), range(self.size))
        self.is_eog = np.fromiter(ends, np.bool_, self.size)
        self.suppressed = _suppressed(pointer, self.size)
        self._wordpiece = (
            self._read_words(lowercase=lowercase, strip_accents=strip_accents)
            if lib.llama_vocab_type(pointer) == _WORDPIECE
            else None
        )

    def _read_words(self, **normalizer: Any) -> WordPiece:
        pointer, every = self._pointer, range(self.size)
        texts = [_text(pointer, token).decode("utf-8", "replace") for token in every]
        kinds = np.fromiter((_attributes(pointer, token) for token in every), np.int32, self.size)
        unknown = [*np.flatnonzero(kinds & _UNKNOWN).tolist(), *_places(texts, "[UNK]"), 0]
        specials = np.flatnonzero(kinds & (_CONTROL | _UNKNOWN)).tolist()
        return WordPiece(texts, specials, unknown[0], **normalizer)

    def _check_specials(self) -> None:
        words = lib.llama_vocab_type(self._pointer) == _WORDPIECE
        wanted = (
            ("BOS", self.add_bos or words, self.bos),
            ("EOS", self.add_eos, self.eos),
            ("SEP", self.add_sep or words, self.sep),
        )
        for name, added, token in wanted:
            if added and not 0 <= token < self.size:
                raise ModelLoadError(f"the vocabulary adds a {name} token that it does not have")

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> npt.NDArray[np.int32]:
        """Tokens of ``text``, int32, shape (n,). Needs a thread with a big stack.

        Args:
            add_special: add BOS and EOS where the model wants them.
            parse_special: read ``<|im_start|>`` and its like as control tokens.

        Raises:
            BadRequest: the text is longer than a GiB.
            EngineError: the model was closed, or llama.cpp failed.
        """
        data = _utf8(text)
        if len(data) > MAX_TEXT_BYTES:
            raise BadRequest("the text is too long")
        if self._wordpiece is not None:
            tokens = self._wordpiece.tokenize(text, parse_special=parse_special)
            around = [self.bos, *tokens, self.sep] if add_special else tokens
            return np.array(around, np.int32)
        found = np.empty(len(data) + 16, np.int32)
        with self._gate.pass_through():
            count = self._tokenize(data, found, add_special, parse_special)
            if count < 0:  # broken UTF-8 can need more than one token a byte
                found = np.empty(-count, np.int32)
                count = self._tokenize(data, found, add_special, parse_special)
        if count < 0:
            raise EngineError("llama.cpp could not tokenize the text")
        return found[:count].copy()

    def _tokenize(
        self, data: bytes, into: npt.NDArray[np.int32], add_special: bool, parse_special: bool
    ) -> int:
        pointer = into.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        count: int = lib.llama_tokenize(
            self._pointer, data, len(data), pointer, len(into), add_special, parse_special
        )
        return count

    def text_of(self, token: int) -> bytes:
        """Bytes of one token with control tokens spelled out; b"" for an id out of range."""
        if not 0 <= token < self.size:
            return b""
        if self.pieces[token]:
            return self.pieces[token]
        with self._gate.pass_through():
            return _spell(self._pointer, token, special=True)

    def close(self) -> None:
        """Wait for the threads inside; calls that come later raise EngineError."""
        self._gate.close()

    def __repr__(self) -> str:
        return f"<LlamaVocabulary {self.size} tokens>"


def _places(texts: list[str], wanted: str) -> list[int]:
    return [at for at, text in enumerate(texts) if text == wanted]


def _utf8(text: str) -> bytes:
    """UTF-8 of ``text``; halves of surrogate pairs become U+FFFD, as Go's JSON reads them."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _spell_all(pointer: int, size: int) -> list[bytes]:
    """Bytes of every token, b"" for control tokens; much cheaper than one by one."""
    vocabulary, room = ctypes.c_void_p(pointer), ctypes.c_int32(_USUAL_PIECE)
    strip, special = ctypes.c_int32(0), ctypes.c_bool(False)
    buffer: Any = ctypes.create_string_buffer(_USUAL_PIECE)
    pieces: list[bytes] = []
    for token in range(size):
        length = _piece_into(vocabulary, token, buffer, room, strip, special)
        fits = length >= 0
        pieces.append(buffer[:length] if fits else _spell(pointer, token, special=False))
    return pieces


def _spell(pointer: int, token: int, *, special: bool) -> bytes:
    """Bytes of a token whose id was checked; ``special`` spells control tokens out."""
    room = _USUAL_PIECE
    while True:
        buffer = ctypes.create_string_buffer(room)
        length: int = _piece(pointer, token, buffer, room, 0, special)
        if length >= 0:
            return buffer.raw[:length]
        room = -length


def _fill(pointer: int, size: int) -> tuple[int, int, int] | None:
    """Tokens that mark prefix, suffix and middle; all or none."""
    before, after, middle = (
        int(read(pointer))
        for read in (lib.llama_vocab_fim_pre, lib.llama_vocab_fim_suf, lib.llama_vocab_fim_mid)
    )
    known = all(0 <= token < size for token in (before, after, middle))
    return (before, after, middle) if known else None


def _suppressed(pointer: int, size: int) -> npt.NDArray[np.int32]:
    count = ctypes.c_int32(0)
    found = lib.llama_vocab_get_suppress_tokens(pointer, ctypes.byref(count))
    if not found or count.value <= 0:
        return np.empty(0, np.int32)
    tokens = np.array(found[: count.value], np.int32)
    return tokens[(tokens >= 0) & (tokens < size)]
