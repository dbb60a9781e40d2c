"""The embedding context of the fake engine: rows that depend on every token, and on nothing else.

Opened by ``engine/fake.py``. Equal texts have equal rows wherever they stand in a batch, so a test
sees at once when rows and inputs are mixed up. A model that ranks scores how many bytes of what
stands behind the separator occur before it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from trillama.base.errors import EngineError

from .embedding import EmbeddingLimits, EmbeddingParams, Pooling, Tokens, Vectors
from .fake_vocab import EOS, SIZE

WIDTH = 64

_TABLE = np.random.default_rng(1).standard_normal((SIZE, WIDTH)).astype(np.float32)

EmbedHook = Callable[[Sequence[Tokens]], None]


@dataclass(slots=True)
class EmbeddingCounters:
    """What a context was asked: its calls, and the inputs and tokens of each."""

    calls: int = 0
    inputs: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)


def fake_row(tokens: Tokens) -> Vectors:
    """The row of one input, float32, shape (WIDTH,); its length is not 1."""
    weights = 1 + np.arange(len(tokens), dtype=np.float32) % 7
    row: Vectors = (weights[:, None] * _TABLE[tokens]).sum(axis=0)
    return row


def fake_score(tokens: Tokens) -> float:
    """The score of a query and a document with EOS between them: from -4 to 4."""
    at = int(np.argmax(tokens == EOS))
    query, document = set(tokens[:at].tolist()), tokens[at + 1 :].tolist()
    shared = sum(token in query for token in document)
    return 8 * shared / max(len(document), 1) - 4


class FakeEmbeddings:
    """Fulfils :class:`trillama.engine.embedding.EmbeddingContext`.

    Attributes:
        on_embed: called at the start of every call; may record, block or raise.
    """

    def __init__(self, pooling: Pooling, params: EmbeddingParams, on_embed: EmbedHook) -> None:
        self.counters = EmbeddingCounters()
        self.closed = False
        batch = params.batch or 256
        self.limits = EmbeddingLimits(
            batch=batch,
            pack=batch,
            sequences=params.sequences,
            longest=params.longest,
            width=1 if pooling is Pooling.RANK else WIDTH,
            cores=max(1, params.threads),
        )
        self._pooling = pooling
        self._on_embed = on_embed
        self._inside = threading.Lock()

    def embed(self, inputs: Sequence[Tokens]) -> Vectors:
        """Rows of ``inputs``, float32, shape (len(inputs), width).

        Raises:
            EngineError: beyond the limits, which llama.cpp would abort on.
        """
        lengths = [len(tokens) for tokens in inputs]
        limits = self.limits
        if self.closed or not self._inside.acquire(blocking=False):
            raise EngineError("the context is closed, or used by two threads at once")
        try:
            if not 0 < len(lengths) <= limits.sequences or min(lengths) < 1:
                raise EngineError(f"{len(lengths)} inputs")
            if max(lengths) > limits.longest or (len(lengths) > 1 and sum(lengths) > limits.batch):
                raise EngineError(f"{lengths} tokens")
            self.counters.calls += 1
            self.counters.inputs.append(len(lengths))
            self.counters.tokens.append(sum(lengths))
            self._on_embed(inputs)
            if self._pooling is Pooling.RANK:
                return np.array([[fake_score(tokens)] for tokens in inputs], np.float32)
            return np.stack([fake_row(tokens) for tokens in inputs])
        finally:
            self._inside.release()

    def close(self) -> None:
        """Free the context; a second call does nothing."""
        self.closed = True
