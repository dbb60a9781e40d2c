"""Our parameters as llama.cpp's structures, and a loaded model's facts as ours."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

from trillama.base.errors import ModelLoadError

from .base import ContextParams, LoadParams, MemoryKind, ModelFacts, ProgressHook
from .devices import gpu_count, physical_cores, room_for_streams
from .embedding import Pooling
from .guards import cache_type
from .heaps import libc
from .layout import Surroundings
from .library import lib

_PROGRESS_STEP, _PROGRESS_PERIOD = 0.01, 0.1
STOP_WHEN_SET = ctypes.cast(libc.strlen, lib.ggml_abort_callback)
"""An abort callback without Python: true as soon as the byte its data points to is not 0."""


class LoadProgress:
    """The progress callback of one load: passes on few of the calls and never raises into C.

    Attributes:
        failure: what the hook raised; the load was cancelled for it.
        cancelled: the hook asked for the end of the load.
    """

    def __init__(self, hook: ProgressHook) -> None:
        self._hook = hook
        self._told = (-1.0, 0.0)
        self.failure: BaseException | None = None
        self.cancelled = False
        self.callback: Callable[..., Any] = lib.llama_progress_callback(self._step)

    def end(self) -> None:
        """Let go of the callback: the load is over, C calls it no more."""
        del self.callback

    def _step(self, fraction: float, _data: object) -> bool:
        told, at = self._told
        now = time.monotonic()
        if fraction < 1 and (fraction - told < _PROGRESS_STEP or now - at < _PROGRESS_PERIOD):
            return True
        self._told = fraction, now
        try:
            self.cancelled = not self._hook(fraction)
        except BaseException as error:  # C has no use for an exception
            self.failure, self.cancelled = error, True
        return not self.cancelled


def model_params(params: LoadParams, progress: LoadProgress | None) -> lib.llama_model_params:
    """llama_model_params for a load; keep ``progress`` alive until the load is over.

    Raises:
        ModelLoadError: ``main_gpu`` names no device.
    """
    struct: lib.llama_model_params = lib.llama_model_default_params()
    struct.n_gpu_layers = params.gpu_layers
    struct.check_tensors = params.check_tensors
    struct.load_mode = _load_mode(params)
    struct.vocab_only = params.vocab_only
    if params.main_gpu is not None:
        struct.split_mode, struct.main_gpu = lib.LLAMA_SPLIT_MODE_NONE, _main_gpu(params.main_gpu)
    if progress is not None:
        struct.progress_callback = progress.callback
    return struct


def _load_mode(params: LoadParams) -> int:
    if params.use_mlock:
        mapped = params.use_mmap is not False
        return lib.LLAMA_LOAD_MODE_MMAP_MLOCK if mapped else lib.LLAMA_LOAD_MODE_MLOCK
    if params.use_mmap is None:
        return lib.LLAMA_LOAD_MODE_AUTO
    return lib.LLAMA_LOAD_MODE_MMAP if params.use_mmap else lib.LLAMA_LOAD_MODE_NONE


def _main_gpu(wanted: int) -> int:
    count = gpu_count()
    if count and not 0 <= wanted < count:
        raise ModelLoadError(f"main_gpu {wanted}: there are {count} GPUs, numbered from 0")
    return wanted if count else 0


def context_params(params: ContextParams, stop_flag: int) -> lib.llama_context_params:
    """llama_context_params for parameters that ``guards.check_context`` returned.

    Args:
        stop_flag: address of two bytes, the second 0; a first one above 0 stops a CPU decode.
    """
    struct: lib.llama_context_params = lib.llama_context_default_params()
    struct.n_ctx, struct.n_seq_max = params.cells, params.sequences
    struct.n_batch, struct.n_ubatch = params.batch, params.micro_batch
    struct.n_outputs_max = params.outputs
    # Rows of several sequences share most decodes, so both counts mean the same work.
    struct.n_threads = struct.n_threads_batch = params.threads or physical_cores()
    struct.type_k = cache_type(params.cache_type_k)
    struct.type_v = cache_type(params.cache_type_v)
    struct.flash_attn_type = -1 if params.flash_attention is None else int(params.flash_attention)
    struct.kv_unified = params.unified
    # A window cache of full size: without it prefixes could be neither cut nor shared.
    struct.swa_full = True
    struct.abort_callback = STOP_WHEN_SET
    struct.abort_callback_data = ctypes.c_void_p(stop_flag)
    return struct


def surroundings(model: int, facts: ModelFacts, *, on_cpu: bool) -> Surroundings:
    """What the layout of a context of ``model`` depends on."""
    heads = max(1, lib.llama_model_n_head(model))
    width = metadata_text(model, f"{facts.architecture}.attention.key_length")
    head = int(width) if width.isdecimal() else facts.embedding_length // heads
    return Surroundings(
        memory=facts.memory,
        heads=heads,
        cell_elements=facts.layers * max(1, lib.llama_model_n_head_kv(model)) * head,
        on_cpu=on_cpu,
        free=room_for_streams(on_cpu=on_cpu),
    )


_PROBABLE = ("qwen3", "qwen3vl")
"""Architectures whose classification head ends with a softmax, in llama.cpp's build_pooling."""


def is_causal(model: int) -> bool:
    """Whether a token sees only those before it; the metadata speaks up where it does not."""
    architecture = metadata_text(model, "general.architecture")
    return metadata_text(model, f"{architecture}.attention.causal") != "false"


def _pooling(model: int, memory: MemoryKind) -> Pooling | None:
    """How a model embeds; see ``ModelFacts.pooling``."""
    if lib.llama_model_has_encoder(model) and lib.llama_model_has_decoder(model):
        return None
    architecture = metadata_text(model, "general.architecture")
    number = metadata_text(model, f"{architecture}.pooling_type")
    known = list(Pooling)
    if number.isdecimal() and int(number) < len(known):
        return known[int(number)]
    return Pooling.MEAN if memory is MemoryKind.NONE else Pooling.LAST


def _template(model: int, name: bytes | None) -> str:
    text = lib.llama_model_chat_template(model, name)
    return text.decode("utf-8", "replace") if text else ""


def read_facts(model: int, memory: MemoryKind) -> ModelFacts:
    """What the library says of a loaded model."""
    architecture = metadata_text(model, "general.architecture")
    return ModelFacts(
        architecture=architecture,
        description=_text(lambda buffer, room: lib.llama_model_desc(model, buffer, room)),
        train_context=lib.llama_model_n_ctx_train(model),
        embedding_length=lib.llama_model_n_embd(model),
        layers=lib.llama_model_n_layer(model),
        size=lib.llama_model_size(model),
        parameters=lib.llama_model_n_params(model),
        memory=memory,
        chat_template=_template(model, None),
        pooling=_pooling(model, memory),
        causal=is_causal(model),
        rerank_template=_template(model, b"rerank"),
        scores_are_probabilities=architecture in _PROBABLE,
    )


def metadata_text(model: int, key: str) -> str:
    """A value of the GGUF's metadata as text, "" when absent; arrays are not given."""
    name = key.encode()
    return _text(lambda buffer, room: lib.llama_model_meta_val_str(model, name, buffer, room))


def normalizer(model: int) -> dict[str, bool]:
    """What the model's WordPiece does to texts, as far as its metadata speaks of it."""
    keys = {name: f"tokenizer.ggml.normalizer.{name}" for name in ("lowercase", "strip_accents")}
    found = {name: metadata_text(model, key) for name, key in keys.items()}
    return {name: text == "true" for name, text in found.items() if text}


def _text(fill: Callable[[Any, int], int]) -> str:
    """Text of a call that cuts to the buffer and returns the whole length, or -1."""
    room = 256
    while True:
        buffer = ctypes.create_string_buffer(room)
        length = fill(buffer, room)
        if length < room:
            return buffer.value.decode("utf-8", "replace") if length > 0 else ""
        room = length + 1


def memory_kind(model: int) -> MemoryKind:
    """How contexts of a model remember, by asking the library.

    Only a context tells that there is no memory at all, so the smallest possible one is opened
    for a moment.

    Raises:
        ModelLoadError: not even that one can be opened.
    """
    if lib.llama_model_is_recurrent(model):
        return MemoryKind.RECURRENT
    if lib.llama_model_is_hybrid(model):
        return MemoryKind.HYBRID
    struct = lib.llama_context_default_params()
    struct.n_ctx = struct.n_batch = struct.n_ubatch = struct.n_outputs_max = 32
    context = lib.llama_init_from_model(model, struct)
    if not context:
        raise ModelLoadError("llama.cpp cannot open a context for this model")
    remembers = bool(lib.llama_get_memory(context))
    lib.llama_free(context)
    if not remembers:
        return MemoryKind.NONE
    return MemoryKind.SLIDING if lib.llama_model_n_swa(model) > 0 else MemoryKind.ATTENTION
