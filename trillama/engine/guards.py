"""Refuses in Python what would end the process inside llama.cpp.

llama.cpp answers some wrong calls with an error code and others with an assertion or a wild
pointer. This room holds the second kind, one function per call site, in plain numpy and without
the library. Called by ``llama.py`` and ``chains.py`` right before each call.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from trillama.base.errors import BadRequest, EngineError, ModelLoadError
from trillama.base.options import Options

from .base import Batch, ContextLimits, ContextParams

MAX_SEQUENCES = 256
"""LLAMA_MAX_SEQ of llama.cpp."""
MAX_THREADS = 512
"""GGML_MAX_N_THREADS of ggml."""
CELL_STEP = 256
"""llama.cpp rounds contexts up to this many cells."""
MAX_CELLS = 2**31 - CELL_STEP

CACHE_TYPES = {
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20,
    "bf16": 30,
}  # fmt: skip
"""Element types a KV cache can have, with their ggml_type numbers; "" is the default, f16."""
PLAIN_TYPES = frozenset(("f32", "f16", "bf16", ""))
"""Those that plain attention can read as values."""
_SAMPLER_NUMBERS = (
    "temperature", "top_p", "min_p", "typical_p",
    "repeat_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip


class GuardedBatch(Batch):
    """A batch that can tell quickly whether llama.cpp would survive it."""

    __slots__ = ("_position_bits", "_sequence_bits", "_token_bits")

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        # As unsigned numbers, negative values are huge: one maximum finds both ends of a range.
        self._token_bits = self.tokens.view(np.uint32)
        self._position_bits = self.positions.view(np.uint32)
        self._sequence_bits = self.sequences.view(np.uint32)

    def check(self, limits: ContextLimits, n_vocab: int) -> int:
        """Check the rows in use; a few microseconds, whatever their number.

        Returns:
            how many rows want logits.

        Raises:
            EngineError: the batch breaks a rule; the message names it.
        """
        size = self.size
        if not 0 < size <= limits.batch:
            raise EngineError(f"a batch of {size} rows, not 1..{limits.batch}")
        outputs = int(np.count_nonzero(self.wants_logits[:size]))
        if outputs > limits.outputs:
            raise EngineError(f"{outputs} rows want logits, at most {limits.outputs} may")
        top = np.maximum.reduce
        if top(self._token_bits[:size]) >= n_vocab:
            raise EngineError(_outside("token", self.tokens[:size], n_vocab))
        if top(self._sequence_bits[:size]) >= limits.sequences:
            raise EngineError(_outside("sequence", self.sequences[:size], limits.sequences))
        if top(self._position_bits[:size]) >= limits.sequence_cells:
            raise EngineError(_outside("position", self.positions[:size], limits.sequence_cells))
        return outputs


def _outside(what: str, values: npt.NDArray[np.int32], end: int) -> str:
    row = int(np.argmax((values < 0) | (values >= end)))
    return f"{what} {values[row]} in row {row} of the batch is not in 0..{end - 1}"


def check_sequence(sequence: int, limits: ContextLimits) -> None:
    """Refuse a sequence id the context does not have.

    Raises:
        EngineError: llama.cpp would abort on it.
    """
    if not 0 <= sequence < limits.sequences:
        raise EngineError(f"sequence {sequence} is not in 0..{limits.sequences - 1}")


def check_copy(start: int, end: int, held: int, *, unified: bool) -> None:
    """Refuse to copy a range of positions where only whole sequences can be copied.

    Args:
        held: last position of the source.
        unified: all sequences live in one pool of cells.

    Raises:
        EngineError: the range is negative, or partial between separate pools.
    """
    if start < 0 or end < start:
        raise EngineError(f"positions {start}..{end} are no range")
    if not unified and (start > 0 or end <= held):
        raise EngineError("a part of a sequence can only be shared in a unified cache")


def check_shift(start: int, end: int, delta: int, limits: ContextLimits) -> None:
    """Refuse a shift the memory cannot do.

    Raises:
        EngineError: the model's memory cannot shift, or positions would become negative.
    """
    if not limits.can_shift:
        raise EngineError("this model's memory cannot shift positions")
    if start < 0 or end < start or start + delta < 0:
        raise EngineError(f"positions {start}..{end} cannot move by {delta}")


def check_context(params: ContextParams) -> ContextParams:
    """Parameters llama.cpp survives: raised where that is harmless, refused where it is not.

    Its constructor aborts when sequences outnumber rows of a batch or rows of logits, and it
    shortens a batch to the context before it rounds the context up.

    Raises:
        ModelLoadError: a value no context can have; the message names it.
    """
    if not 0 < params.cells <= MAX_CELLS:
        raise ModelLoadError(f"a context of {params.cells} cells is impossible")
    if not 0 < params.sequences <= MAX_SEQUENCES:
        raise ModelLoadError(f"{params.sequences} sequences: 1..{MAX_SEQUENCES} are possible")
    if params.batch < 1 or params.micro_batch < 1 or params.threads < 0:
        raise ModelLoadError("batch, micro_batch and threads must be positive")
    check_cache_types(params)
    cells = -(-params.cells // CELL_STEP) * CELL_STEP
    batch = min(max(params.batch, params.sequences), cells)
    return dataclasses.replace(
        params,
        cells=cells,
        batch=batch,
        micro_batch=min(params.micro_batch, batch),
        outputs=min(max(params.outputs, params.sequences), batch),
        threads=min(params.threads, MAX_THREADS),
    )


def check_cache_types(params: ContextParams) -> None:
    """Refuse element types a KV cache cannot have.

    Raises:
        ModelLoadError: an unknown type, or quantised values without flash attention.
    """
    for name in (params.cache_type_k, params.cache_type_v):
        if name and name not in CACHE_TYPES:
            raise ModelLoadError(f"unknown KV cache type {name!r}; known: {', '.join(CACHE_TYPES)}")
    quantised = params.cache_type_v not in PLAIN_TYPES
    if quantised and params.flash_attention is False:
        raise ModelLoadError(f"a {params.cache_type_v} V cache needs flash attention, which is off")


def cache_type(name: str) -> int:
    """The ggml_type number of a cache type that was checked before."""
    return CACHE_TYPES[name or "f16"]


def check_options(options: Options, n_vocab: int) -> None:
    """Refuse options that poison llama.cpp's samplers.

    Raises:
        BadRequest: a number that is not finite, or a biased token outside the vocabulary.
    """
    for name in _SAMPLER_NUMBERS:
        if not math.isfinite(getattr(options, name)):
            raise BadRequest(f'option "{name}" must be a finite number')
    if options.repeat_penalty <= 0:
        raise BadRequest('option "repeat_penalty" must be above 0')
    for token, bias in options.logit_bias:
        if not 0 <= token < n_vocab or not math.isfinite(bias):
            raise BadRequest(f"logit_bias of token {token} is impossible for this model")


def check_row(row: npt.NDArray[np.float32], n_vocab: int) -> None:
    """Refuse a row of logits from which nothing can be drawn.

    Raises:
        EngineError: wrong length, a value that is not a number, or no token allowed.
    """
    if row.shape != (n_vocab,):
        raise EngineError(f"a row of {row.shape} logits for {n_vocab} tokens")
    top = float(row.max())
    if top == -math.inf:
        raise EngineError("no token is allowed here")
    if not math.isfinite(top):
        raise EngineError("the model computed logits that are not finite")
