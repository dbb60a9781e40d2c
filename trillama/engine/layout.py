"""How a context's memory is laid out: one pool or streams, flash attention or plain.

Pure; ``llama`` asks when it opens a context and knows model and devices. llama.cpp's attention on
the CPU decides: with flash attention a row costs several times what it costs without, until 64 of
them share a tile; without it a row pays for every cell in use of its pool, its neighbours' too.
Streams (a pool for each sequence) without flash attention are never slow, and cost memory: each
must have room for the longest request. Measured in docs/BENCHMARKS.md.
"""

from __future__ import annotations

import dataclasses

from trillama.base.memory import ELEMENT_BYTES

from .base import Attention, ContextLimits, ContextParams, MemoryKind
from .guards import CELL_STEP, PLAIN_TYPES

CROWD = 8
"""Up to so many sequences plain attention in one pool is the faster one, whatever they share."""
SHORT = 256
"""Up to so many cells flash attention is the faster one for a sequence alone: fewer graph nodes."""
POOLED_LIVE = 16
"""Sequences that generate at once in such a pool when nobody says."""
SPARE = 8
"""One in so many streams is for what is kept of finished jobs, where the memory has room for it."""
MOST_PINNED = 64
"""Sequences with pins: each takes two of the library's ids, and a row of logits for both."""
MOST_SCORES = 1 << 30
"""Bytes that the scores of plain attention may take: beyond, flash attention makes none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Surroundings:
    """What a layout depends on beside its parameters.

    Attributes:
        memory: how the model remembers.
        heads: attention heads of a layer.
        cell_elements: elements of keys in one cell, over all layers; as many of values.
        on_cpu: attention is computed by the CPU.
        free: bytes that the KV cache might have.
    """

    memory: MemoryKind
    heads: int
    cell_elements: int
    on_cpu: bool
    free: int


def settle(params: ContextParams, around: Surroundings) -> ContextParams:
    """Parameters with nothing left to choose: pool or streams, and flash attention where the
    library's own choice is not the best one.

    Where streams do not fit, the pool gets as many of their cells as the memory allows.
    """
    params = _with_sequences(params, around)
    wanted, longest = params.streams, -(-params.cells // CELL_STEP) * CELL_STEP
    if not wanted:
        return _with_kernel(params, around)
    room = (params.kv_memory or around.free) // max(1, cell_bytes(params, around))
    streams = min(wanted + -(-wanted // SPARE), room // longest)
    if around.memory is MemoryKind.ATTENTION and streams >= wanted:
        chosen = dataclasses.replace(
            params, cells=streams * longest, sequences=streams, unified=False
        )
    else:
        cells = max(longest, min(wanted * longest, room))
        chosen = dataclasses.replace(params, cells=cells)
    return _with_kernel(chosen, around)


def _with_sequences(params: ContextParams, around: Surroundings) -> ContextParams:
    """No more sequence ids than are of use: states are not kept in them, and windows need pins."""
    most = params.sequences
    if around.memory.stateful:
        most = min(most, params.outputs)
    elif around.memory is MemoryKind.SLIDING:
        most = min(most, max(params.outputs, MOST_PINNED))
    return dataclasses.replace(params, sequences=most)


def cell_bytes(params: ContextParams, around: Surroundings) -> int:
    """Bytes of one cell with its keys and values."""
    types = (params.cache_type_k, params.cache_type_v)
    return int(around.cell_elements * sum(ELEMENT_BYTES[name] for name in types))


def _with_kernel(params: ContextParams, around: Surroundings) -> ContextParams:
    if params.flash_attention is not None or not around.on_cpu:
        return params
    if params.cache_type_v not in PLAIN_TYPES or around.memory is MemoryKind.NONE:
        return params
    seen = params.cells if params.unified else params.cells // params.sequences
    if 4 * params.micro_batch * seen * around.heads > MOST_SCORES:
        return params
    if params.unified and params.streams > CROWD:
        return params
    if params.streams == 1 and seen <= SHORT:
        return params
    return dataclasses.replace(params, flash_attention=False)


def attention_of(params: ContextParams, *, on_cpu: bool) -> Attention:
    """What rows pay for in a context that was opened with settled parameters."""
    if not params.unified:
        return Attention.SEPARATE
    return Attention.POOLED if on_cpu and params.flash_attention is False else Attention.TILED


def most_live(limits: ContextLimits, wanted: int) -> int:
    """Sequences that may generate at once in a context; ``wanted`` 0 means as many as do well."""
    most = min(limits.outputs, limits.sequences, limits.batch)
    if limits.attention is Attention.POOLED and not wanted:
        most = min(most, POOLED_LIVE)
    return min(wanted or most, most)
