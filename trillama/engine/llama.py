"""The real engine: models loaded by llama.cpp.

Owns weights and the contexts opened on them, and frees them in the order the library needs:
contexts before their model, whoever asks first. The scheduler loads and closes models from worker
threads; ``runner_pool`` gives each context to one engine thread. Nothing here waits for a
garbage collector.
"""

from __future__ import annotations

import dataclasses
import os
import threading

from trillama.base.errors import Cancelled, ModelLoadError
from trillama.base.memory import NOTHING, Taken

from .adapters import LoadedAdapters
from .base import ContextParams, Device, LoadParams, MemoryKind, ProgressHook, Vocabulary
from .context import LlamaContext
from .devices import devices, gpu_count
from .embedding import EmbeddingParams
from .embedding_context import PACK_CPU, PACK_GPU, LlamaEmbeddings
from .heaps import trim
from .layout import attention_of, settle
from .library import LogTail, lib, library_version, start
from .library_batch import LlamaBatch
from .params import (
    LoadProgress,
    memory_kind,
    model_params,
    normalizer,
    read_facts,
    surroundings,
)
from .real_use import taken
from .vocab import LlamaVocabulary

__all__ = ["LlamaBackend", "LlamaBatch", "LlamaContext", "LlamaModel"]


class LlamaModel:
    """Loaded weights; see ``base.Model``. Made by ``LlamaBackend.load``."""

    vocabulary: Vocabulary

    def __init__(
        self, pointer: int, params: LoadParams | None = None, memory_taken: Taken = NOTHING
    ) -> None:
        """Take over the model at ``pointer``; it is freed if it turns out to be unusable.

        Raises:
            ModelLoadError: the vocabulary or the memory cannot be used.
        """
        self._pointer: int | None = pointer
        self._lock = threading.RLock()
        self._adapters = LoadedAdapters(self._lock)
        self._contexts: list[LlamaContext | LlamaEmbeddings] = []
        self._params = params = params or LoadParams()
        try:
            words = lib.llama_model_get_vocab(pointer)
            self._vocabulary = LlamaVocabulary(words, **normalizer(pointer))
            self.vocabulary = self._vocabulary
            memory = MemoryKind.NONE if params.vocab_only else memory_kind(pointer)
            facts = read_facts(pointer, memory)
            self.facts = dataclasses.replace(facts, taken=memory_taken)
        except BaseException:
            lib.llama_model_free(pointer)
            raise

    def open_context(self, params: ContextParams) -> LlamaContext:
        """Allocate a context; the model may be in use by others meanwhile.

        Raises:
            ModelLoadError: the library refused (memory, unsupported combination), or the model
                is closed.
        """
        with self._lock:
            pointer, on_cpu = self._weights(), not self._on_gpu
            around = surroundings(pointer, self.facts, on_cpu=on_cpu)
            chosen = settle(params, around)
            attention = attention_of(chosen, on_cpu=on_cpu)
            how = chosen, attention, self.facts.memory
            context = LlamaContext(pointer, self._vocabulary, how, self._adapters, self._forget)
            self._contexts.append(context)
            if not on_cpu:
                context.limits = dataclasses.replace(context.limits, asynchronous=True)
                context.rank_in_graph()
            return context

    def open_embeddings(self, params: EmbeddingParams) -> LlamaEmbeddings:
        """Allocate a context for embeddings; the model may be in use by others meanwhile.

        Raises:
            Unsupported: the model cannot embed.
            ModelLoadError: the library refused, or the model is closed.
        """
        with self._lock:
            pointer = self._weights()
            size, on_gpu = self.vocabulary.size, self._on_gpu
            if not params.batch:
                params = dataclasses.replace(params, batch=PACK_GPU if on_gpu else PACK_CPU)
            context = LlamaEmbeddings(pointer, self.facts, size, params, self._forget)
            if on_gpu:
                context.limits = dataclasses.replace(context.limits, cores=1)
            self._contexts.append(context)
            context.set_adapters(self._adapters)
            return context

    def load_adapter(self, path: str) -> None:
        """Read a LoRA adapter; see ``base.Model.load_adapter``.

        Raises:
            ModelLoadError: the file is missing or belongs to other weights, or the model is closed.
        """
        with self._lock:
            self._adapters.load(self._weights(), path)

    @property
    def _on_gpu(self) -> bool:
        return self._params.gpu_layers != 0 and gpu_count() > 0

    def _weights(self) -> int:
        if self._pointer is None:
            raise ModelLoadError("the model is closed")
        if self._params.vocab_only:
            raise ModelLoadError("only the vocabulary of this model is loaded")
        return self._pointer

    def _forget(self, context: LlamaContext | LlamaEmbeddings) -> None:
        with self._lock:
            self._contexts.remove(context)

    def close(self) -> None:
        """Free contexts still open, then the weights; doing it twice is harmless.

        No decode may run in those contexts. Threads that tokenize are waited for.
        """
        with self._lock:
            pointer, self._pointer = self._pointer, None
            if pointer is None:
                return
            for context in list(self._contexts):
                context.close()
            self._vocabulary.close()
            lib.llama_model_free(pointer)
            trim()

    def __repr__(self) -> str:
        state = "open" if self._pointer else "closed"
        return f"<LlamaModel {state} {self.facts.description} {len(self._contexts)} contexts>"


class LlamaBackend:
    """See ``base.Backend``."""

    def __init__(self) -> None:
        """Start the library.

        Raises:
            ModelLoadError: this version of it is not supported.
        """
        start()

    def load(
        self, path: str, params: LoadParams, progress: ProgressHook | None = None
    ) -> LlamaModel:
        """Load weights from a GGUF file that was validated before.

        Several loads may run at once, on different threads.

        Raises:
            ModelLoadError: the file is missing, unsupported or too large; the message carries
                the library's own words.
            Cancelled: ``progress`` returned False.
        """
        if "\0" in path or not os.path.isfile(path):
            raise ModelLoadError(f"no such model file: {path!r}")
        steps = LoadProgress(progress) if progress else None
        with LogTail() as log:
            pointer = lib.llama_model_load_from_file(os.fsencode(path), model_params(params, steps))
        if steps:
            steps.end()
        if pointer:
            return LlamaModel(pointer, params, taken(log.lines))
        if steps and steps.cancelled:
            raise steps.failure or Cancelled("the load was cancelled")
        raise log.failure(f"cannot load {os.path.basename(path)}")

    def devices(self) -> list[Device]:
        """Devices in the library's order, CPU included."""
        return devices()

    def version(self) -> str:
        """Name and build of the library."""
        return library_version()
