"""One llama.cpp context that turns texts into rows; see ``embedding.EmbeddingContext``.

Every call begins with an empty memory and hands whole inputs over, each as a sequence of its own.
Where attention sees only what came before and the last row counts, an input longer than a batch
goes in pieces; everywhere else the library must see all of it in one graph.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from trillama.base.errors import EngineError, Unsupported

from . import guards
from .adapters import LoadedAdapters
from .base import ContextLimits, ContextParams, DecodeStatus, MemoryKind, ModelFacts
from .embedding import EmbeddingLimits, EmbeddingParams, Pooling, Tokens, Vectors
from .library import LogTail, lib
from .library_batch import LlamaBatch
from .params import context_params

_POOLINGS = list(Pooling)

# The binding's own return typed pointers; an address is all that is needed.
_row_of_sequence = lib._lib["llama_get_embeddings_seq"]
_row_of_token = lib._lib["llama_get_embeddings_ith"]
for _row in (_row_of_sequence, _row_of_token):
    _row.restype, _row.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int32]


PACK_CPU, PACK_GPU = 63, 4096
"""Tokens worth computing together. Below 64 rows a CPU's flash attention computes each by itself,
so that an input has the very same row alone and among others; from there on it gains 20 to 30 %,
and moves values of a row of length 1 by up to 1.5e-4."""


def embedding_params(params: EmbeddingParams, facts: ModelFacts) -> ContextParams:
    """The context that is needed, within what the model was trained for.

    Args:
        params: with a batch.

    Raises:
        Unsupported: the model has no rows to give.
        ModelLoadError: parameters no context can have.
    """
    if facts.pooling is None:
        raise Unsupported(f"models of architecture {facts.architecture} cannot embed")
    longest = min(params.longest, facts.train_context or params.longest)
    # An equal split of sequences with a state may cut an input where its pooling needs it whole.
    alone = facts.memory.stateful and facts.pooling is not Pooling.LAST
    whole = not _splits(facts)
    batch = max(params.batch, longest) if whole else params.batch
    sequences = 1 if alone else min(params.sequences, batch)
    # The reserved graph has as many rows of each sequence: rows left over fail an assertion there.
    batch = -(-batch // sequences) * sequences
    return guards.check_context(
        ContextParams(
            cells=max(batch, longest),
            sequences=sequences,
            batch=batch,
            micro_batch=batch,
            outputs=batch,
            threads=params.threads,
            flash_attention=params.flash_attention,
        )
    )


def _splits(facts: ModelFacts) -> bool:
    """An input may be computed in pieces."""
    return facts.memory is not MemoryKind.NONE and facts.causal and facts.pooling in _LAST_ROW


_LAST_ROW = (Pooling.LAST, Pooling.NONE)


class LlamaEmbeddings:
    """See ``embedding.EmbeddingContext``; made by ``LlamaModel.open_embeddings``."""

    def __init__(
        self,
        model: int,
        facts: ModelFacts,
        n_vocab: int,
        params: EmbeddingParams,
        on_close: Callable[[LlamaEmbeddings], None],
    ) -> None:
        """Allocate the context; ``params`` have a batch.

        Args:
            model: pointer to the loaded model, which must outlive the context.
            on_close: told once, after the context was freed.

        Raises:
            Unsupported: the model cannot embed.
            ModelLoadError: impossible parameters, or the library refused them.
        """
        wanted = embedding_params(params, facts)
        self._stop = (ctypes.c_uint8 * 2)(0, 0)
        self._on_close = on_close
        with LogTail() as log:
            struct = context_params(wanted, ctypes.addressof(self._stop))
            struct.embeddings, struct.n_outputs_max = True, 0
            struct.pooling_type = _POOLINGS.index(facts.pooling or Pooling.NONE)
            self._pointer: int | None = lib.llama_init_from_model(model, struct)
        if not self._pointer:
            raise log.failure("cannot open a context for embeddings")
        self._memory: int | None = lib.llama_get_memory(self._pointer)
        self._pooled = facts.pooling is not Pooling.NONE
        self._n_vocab = n_vocab
        self._adapters = params.adapters
        self._layout: AbstractContextManager[Any] = nullcontext()
        self._open(model, facts, wanted, params)

    def _open(
        self, model: int, facts: ModelFacts, wanted: ContextParams, params: EmbeddingParams
    ) -> None:
        batch = min(lib.llama_n_batch(self._pointer), lib.llama_n_ubatch(self._pointer))
        cells = lib.llama_n_ctx(self._pointer)
        rank = facts.pooling is Pooling.RANK
        self.limits = EmbeddingLimits(
            batch=batch,
            pack=min(params.batch, batch),
            sequences=lib.llama_n_seq_max(self._pointer),
            longest=min(params.longest, facts.train_context or cells, cells)
            if _splits(facts)
            else min(batch, facts.train_context or batch),
            cores=lib.llama_n_threads_batch(self._pointer),
            width=(lib.llama_model_n_cls_out if rank else lib.llama_model_n_embd_out)(model),
        )
        self._rules = ContextLimits(
            cells=cells,
            sequence_cells=cells,
            sequences=wanted.sequences,
            batch=batch,
            micro_batch=batch,
            outputs=batch,
            can_shift=False,
        )
        self._batch = LlamaBatch(batch)
        self._row_type: Any = ctypes.c_float * self.limits.width

    def set_adapters(self, loaded: LoadedAdapters) -> None:
        """Compute with the adapters of the parameters from now on.

        Raises:
            EngineError: one was never loaded.
        """
        if self._adapters:
            loaded.apply(self._pointer or 0, self._adapters)
            self._layout = loaded.lock

    def embed(self, inputs: Sequence[Tokens]) -> Vectors:
        """Rows of ``inputs``; see ``embedding.EmbeddingContext.embed``.

        Raises:
            EngineError: the inputs break a limit, the library failed, or the context is closed.
        """
        if self._pointer is None:
            raise EngineError("the context is closed")
        self._check(inputs)
        if self._memory:
            lib.llama_memory_clear(self._memory, True)
        if len(inputs[0]) > self.limits.batch:
            self._embed_in_pieces(inputs[0])
            ends = [self._batch.size - 1]
        else:
            ends = self._embed_together(inputs)
        lib.llama_synchronize(self._pointer)
        found = np.empty((len(inputs), self.limits.width), np.float32)
        for sequence, end in enumerate(ends):
            found[sequence] = self._row(sequence, end)
        return found

    def _check(self, inputs: Sequence[Tokens]) -> None:
        lengths = [len(tokens) for tokens in inputs]
        if not 0 < len(lengths) <= self.limits.sequences or min(lengths) < 1:
            raise EngineError(f"{len(lengths)} inputs, one of them empty or too many")
        if max(lengths) > self.limits.longest or (
            len(lengths) > 1 and sum(lengths) > self.limits.batch
        ):
            raise EngineError(f"inputs of {sum(lengths)} tokens exceed {self.limits}")

    def _embed_together(self, inputs: Sequence[Tokens]) -> list[int]:
        batch = self._batch
        batch.clear()
        ends: list[int] = []
        for sequence, tokens in enumerate(inputs):
            batch.add_run(sequence, 0, tokens)
            ends.append(batch.size - 1)
        self._compute()
        return ends

    def _embed_in_pieces(self, tokens: Tokens) -> None:
        for start in range(0, len(tokens), self.limits.batch):
            self._batch.clear()
            self._batch.add_run(0, start, tokens[start : start + self.limits.batch])
            self._compute()

    def _compute(self) -> None:
        batch = self._batch
        batch.wants_logits[: batch.size] = 1
        batch.check(self._rules, self._n_vocab)
        batch.seal()
        work = lib.llama_decode if self._memory else lib.llama_encode
        with self._layout:
            code = work(self._pointer, batch.c)
        self._layout = nullcontext()
        if code:
            raise EngineError(f"computing embeddings failed: {DecodeStatus(code).name}")

    def _row(self, sequence: int, end: int) -> Vectors:
        pointer = self._pointer
        found = _row_of_sequence(pointer, sequence) if self._pooled else _row_of_token(pointer, end)
        if not found:
            raise EngineError("llama.cpp has no embedding for an input")
        memory: Any = self._row_type.from_address(found)
        return np.frombuffer(memory, np.float32)

    def close(self) -> None:
        """Free the context; doing it twice is harmless."""
        pointer, self._pointer = self._pointer, None
        if pointer:
            lib.llama_free(pointer)
            self._on_close(self)

    def __repr__(self) -> str:
        state = "open" if self._pointer else "closed"
        return f"<LlamaEmbeddings {state} {self.limits}>"
