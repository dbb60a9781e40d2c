"""Texts to tokens for models that are not loaded: their vocabularies alone, a few at a time.

A vocabulary takes a second and some ten megabytes where a model takes minutes and a GPU, so
counting tokens never loads, evicts or waits for a model. Those used last are kept; one that is in
use, by a thread that was abandoned too, is never freed.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt
import trio

from ..base.errors import BadRequest
from ..engine.base import Backend, LoadParams, Model, Vocabulary
from ..engine.threads import StackPool

MAX_TEXT = 8_000_000
"""Characters of one text to tokenise."""

KEPT = 4
"""Vocabularies in memory that nobody uses."""

Tokens = npt.NDArray[np.int32]


class Tokenizer(Protocol):
    """What turns text into tokens: a runner, or a vocabulary alone."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""
        ...

    async def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> Tokens:
        """Tokens of ``text``, int32, shape (n,), computed on a thread with a deep stack.

        Raises:
            BadRequest: the text is too long to be looked at.
        """
        ...


def check_text(text: str) -> None:
    """Refuse a text nobody should wait for.

    Raises:
        BadRequest: it has more than MAX_TEXT characters.
    """
    if len(text) > MAX_TEXT:
        raise BadRequest(f"the text has {len(text)} characters, more than {MAX_TEXT}")


class LoneVocabulary:
    """A vocabulary without its model; a :class:`Tokenizer`."""

    def __init__(self, model: Model, threads: StackPool) -> None:
        self._model = model
        self._threads = threads
        self.uses = 0

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""
        return self._model.vocabulary

    async def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> Tokens:
        """See :class:`Tokenizer`."""
        check_text(text)
        work = functools.partial(
            self.vocabulary.tokenize, text, add_special=add_special, parse_special=parse_special
        )
        self.uses += 1
        return await self._threads.run(work, self._done)

    def _done(self) -> None:
        self.uses -= 1

    def close(self) -> None:
        """Free it; waits for threads that still read it."""
        self._model.close()


class Vocabularies:
    """Loads vocabularies and keeps those used last.

    Args:
        threads: where texts are tokenised.
        kept: how many stay that nobody uses.
    """

    def __init__(self, backend: Backend, threads: StackPool, kept: int = KEPT) -> None:
        self._backend = backend
        self._threads = threads
        self._kept = kept
        self._found: OrderedDict[str, LoneVocabulary] = OrderedDict()
        self._loading = trio.Lock()

    def __len__(self) -> int:
        return len(self._found)

    @asynccontextmanager
    async def borrow(self, path: str) -> AsyncIterator[Tokenizer]:
        """The vocabulary of the GGUF file at ``path``; it stays while the block runs.

        Raises:
            ModelLoadError: it cannot be read.
        """
        found = self._found.get(path) or await self._load(path)
        self._found.move_to_end(path)
        found.uses += 1
        try:
            yield found
        finally:
            found.uses -= 1

    async def _load(self, path: str) -> LoneVocabulary:
        async with self._loading:
            if path not in self._found:
                await self._forget_one()
                load = functools.partial(self._backend.load, path, LoadParams(vocab_only=True))
                model = await trio.to_thread.run_sync(load)
                self._found[path] = LoneVocabulary(model, self._threads)
            return self._found[path]

    async def _forget_one(self) -> None:
        """Make room for one more, if there is one nobody uses."""
        idle = [path for path, found in self._found.items() if not found.uses]
        if len(idle) >= self._kept:
            await trio.to_thread.run_sync(self._found.pop(idle[0]).close)

    def close(self) -> None:
        """Free all of them."""
        while self._found:
            self._found.popitem()[1].close()

    def __repr__(self) -> str:
        return f"<Vocabularies {len(self)}>"
