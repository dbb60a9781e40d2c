"""One llama.cpp context: decode, logits and the operations on its sequences.

Owned by one engine thread; only ``interrupt`` may come from elsewhere. Every call that llama.cpp
answers with an abort when it is wrong passes ``guards`` first. Two ctypes calls a step beside the
decode itself, whatever the number of rows.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from trillama.base.adapters import Adapters
from trillama.base.errors import EngineError
from trillama.base.options import Options

from . import guards
from .adapters import LoadedAdapters
from .base import (
    Attention,
    Batch,
    ContextLimits,
    ContextParams,
    DecodeStatus,
    Image,
    MemoryKind,
    Ranked,
    Vocabulary,
)
from .chains import LlamaChain
from .devices import sampling_threads
from .graph_ranks import GraphRanks, open_ranks
from .library import LogTail, lib
from .library_batch import LlamaBatch
from .params import context_params
from .real_use import taken
from .vocab import LlamaVocabulary

# The binding's own returns a typed pointer, which costs a cast per step.
_logits_address = lib._lib["llama_get_logits"]
_logits_address.restype, _logits_address.argtypes = ctypes.c_void_p, [ctypes.c_void_p]


class LlamaContext:
    """See ``base.Context``; made by ``LlamaModel.open_context``.

    A cache of sliding windows gives away cells that left the window of the one sequence they
    belong to, however much room there is (llama.cpp src/llama-kv-cache.cpp, find_slot). Prefixes
    could then be neither cut nor shared. So each cell there has a second owner, its sequence's pin.
    """

    vocabulary: Vocabulary

    def __init__(
        self,
        model: int,
        vocabulary: LlamaVocabulary,
        how: tuple[ContextParams, Attention, MemoryKind],
        adapters: LoadedAdapters,
        on_close: Callable[[LlamaContext], None],
    ) -> None:
        """Allocate the context.

        Args:
            model: pointer to the loaded model, which must outlive the context.
            how: settled parameters, the attention they lead to, and how the model remembers.
            adapters: those of the model.
            on_close: told once, after the context was freed.

        Raises:
            ModelLoadError: impossible parameters, or the library refused them.
        """
        params = guards.check_context(how[0])
        self.vocabulary = vocabulary
        self._columns, self._suppressed = vocabulary.size, vocabulary.suppressed
        self._loaded, self._laid_out = adapters, True
        self._adapters: Adapters = ()
        self._on_close = on_close
        self._stop = (ctypes.c_uint8 * 2)(0, 0)
        with LogTail() as log:
            self._pins = params.sequences if how[2] is MemoryKind.SLIDING and params.unified else 0
            asked = dataclasses.replace(params, sequences=params.sequences + self._pins)
            struct = context_params(guards.check_context(asked), ctypes.addressof(self._stop))
            self._pointer: int | None = lib.llama_init_from_model(model, struct)
        if not self._pointer:
            raise log.failure("cannot open a context")
        self._memory: int | None = lib.llama_get_memory(self._pointer)
        limits = _read_limits(self._pointer, self._memory, model, (params, *how[1:]))
        self.limits = dataclasses.replace(limits, taken=taken(log.lines))
        self._outputs = 0
        self._copies: list[tuple[int, int]] = []
        self._viewed, self._view = (0, 0), np.empty((0, 0), np.float32)
        self._ranks: GraphRanks | None = None

    def rank_in_graph(self, *, anywhere: bool = False) -> None:
        """Have ``limits.ranks`` where the rows of this context can be ranked by a GPU.

        Args:
            anywhere: by a CPU too, where it does not pay.
        """
        if self._pins or self._suppressed.size or not self._pointer:
            return
        unused = self.limits.sequences
        self._ranks = open_ranks(self._pointer, unused, self._columns, anywhere=anywhere)
        self.limits = dataclasses.replace(self.limits, ranks=self._ranks is not None)

    def new_batch(self) -> LlamaBatch:
        """A batch of ``limits.batch`` rows whose memory ``decode`` reads directly."""
        return LlamaBatch(self.limits.batch, self._pins)

    def decode(self, batch: Batch) -> DecodeStatus:
        """Compute all rows; see ``base.Context.decode``.

        Raises:
            EngineError: the batch breaks an invariant, was not made by ``new_batch``, or the
                context is closed.
        """
        pointer = self._pointer or self._refuse()
        if not isinstance(batch, LlamaBatch):
            raise EngineError("the batch was not made by this engine")
        outputs = batch.check(self.limits, self._columns)
        batch.seal()
        self._outputs = 0
        code = self._compute(pointer, batch)
        self._stop[0] = 0
        if code == 0:
            self._outputs = outputs
        return DecodeStatus(code)

    def _compute(self, pointer: int, batch: LlamaBatch) -> int:
        with nullcontext() if self._laid_out else self._loaded.lock:
            self._laid_out = True
            code = int(lib.llama_decode(pointer, batch.c))
        if code != DecodeStatus.INVALID:
            self._copies.clear()
        return code

    def set_adapters(self, adapters: Adapters) -> None:
        """Compute with these adapters from the next decode on; see ``base.Context.set_adapters``.

        Raises:
            EngineError: one was never loaded, or the context is closed.
        """
        if adapters != self._adapters:
            self._loaded.apply(self._pointer or self._refuse(), adapters)
            self._adapters, self._laid_out = adapters, False

    def logits(self) -> npt.NDArray[np.float32]:
        """View of the last decode's rows, shape (outputs, n_vocab), in batch order.

        Suppressed tokens have -inf. Empty after a decode that was not OK.

        Raises:
            EngineError: the library has no logits, or the context is closed.
        """
        pointer = self._pointer or self._refuse()
        rows, columns = self._outputs, self._columns
        if not rows:
            lib.llama_synchronize(pointer)  # steps are timed
            return np.empty((0, columns), np.float32)
        address = _logits_address(pointer)  # waits for them
        if not address:
            raise EngineError("llama.cpp has no logits for this batch")
        if (address, rows) != self._viewed:
            memory: Any = (ctypes.c_float * (rows * columns)).from_address(address)
            self._view = np.frombuffer(memory, np.float32).reshape(rows, columns)
            self._viewed = address, rows
        if self._suppressed.size:
            self._view[:, self._suppressed] = -np.inf
        return self._view

    def ranked(self) -> Ranked | None:
        """The best of each of the last decode's rows; see ``base.Context.ranked``.

        Raises:
            EngineError: the context is closed.
        """
        pointer = self._pointer or self._refuse()
        if self._ranks is None or not self._outputs:
            return None
        lib.llama_synchronize(pointer)
        return self._ranks.read(self._outputs)

    def seq_copy(self, source: int, target: int, start: int, end: int) -> None:
        """Make ``target`` share the cells of ``source``; see ``base.Context.seq_copy``.

        Raises:
            EngineError: an id out of range, or a part of a sequence between separate cells.
        """
        memory, pooled = self._checked_memory(source, target), not self.limits.separate
        held = -1 if pooled else lib.llama_memory_seq_pos_max(memory, source)
        guards.check_copy(start, end, held, unified=pooled)
        if pooled:
            for owner in self._owners(target):
                lib.llama_memory_seq_cp(memory, source, owner, start, end)
        else:
            lib.llama_memory_seq_cp(memory, source, target, -1, -1)
            self._copies.append((source, target))

    def _carry_out_copies(self, sequence: int) -> None:
        """Have cells copied now, if ``sequence`` gives or gets any that wait for it.

        Between separate cells the library copies as the next decode begins: until then an image of
        the target would be of what was there before, and what is restored to the source or to the
        target would be copied or lost (llama.cpp src/llama-kv-cache.cpp, seq_cp). Only a decode
        helps; its one row is dropped again.
        """
        if not any(sequence in pair for pair in self._copies):
            return
        batch, at = LlamaBatch(1), self.seq_pos_max(sequence) + 1
        batch.add_run(sequence, at, np.zeros(1, np.int32))
        batch.seal()
        self._outputs = 0
        self._compute(self._pointer or self._refuse(), batch)
        self.seq_remove(sequence, at)

    def seq_remove(self, sequence: int, start: int = 0, end: int = -1) -> bool:
        """Drop positions [start, end) (end -1: to the last); False if the memory cannot.

        Raises:
            EngineError: the id is out of range.
        """
        memory = self._checked_memory(sequence)
        # A recurrent memory drops a whole sequence only when asked for all positions.
        first = start if start > 0 else -1
        removed = True
        for owner in self._owners(sequence):
            removed &= lib.llama_memory_seq_rm(memory, owner, first, end)
        return removed

    def seq_shift(self, sequence: int, start: int, end: int, delta: int) -> None:
        """Move positions [start, end) by ``delta``; only where ``limits.can_shift``.

        Cells shared with other sequences move for those too.

        Raises:
            EngineError: the memory cannot shift, an id or position is out of range.
        """
        memory = self._checked_memory(sequence)
        guards.check_shift(start, end, delta, self.limits)
        lib.llama_memory_seq_add(memory, sequence, start, end, delta)

    def seq_pos_max(self, sequence: int) -> int:
        """Last position held, -1 when empty.

        Raises:
            EngineError: the id is out of range.
        """
        memory = self._checked_memory(sequence)
        position: int = lib.llama_memory_seq_pos_max(memory, sequence)
        return position

    def save(self, sequence: int) -> Image:
        """An image of all that a sequence holds; see ``base.Context.save``.

        Raises:
            EngineError: the id is out of range.
        """
        self._checked_memory(sequence)
        self._carry_out_copies(sequence)
        image = np.empty(lib.llama_state_seq_get_size(self._pointer, sequence), np.uint8)
        written = lib.llama_state_seq_get_data(self._pointer, _bytes(image), image.size, sequence)
        return image[:written]

    def restore(self, sequence: int, image: Image) -> bool:
        """Give an empty sequence what was saved; see ``base.Context.restore``.

        Raises:
            EngineError: the id is out of range.
        """
        memory, size = self._checked_memory(sequence), image.size
        self._carry_out_copies(sequence)
        read: int = lib.llama_state_seq_set_data(self._pointer, _bytes(image), size, sequence)
        if self._pins:
            lib.llama_memory_seq_cp(memory, sequence, sequence + self._pins, 0, -1)
        return read == size

    def clear(self) -> None:
        """Forget every sequence."""
        if self._pointer is None:
            self._refuse()
        if self._memory:
            lib.llama_memory_clear(self._memory, False)

    def new_chain(self, options: Options, history: npt.NDArray[np.int32]) -> LlamaChain:
        """A sampler chain for ``options`` that has seen ``history`` (newest last).

        Raises:
            BadRequest: options that would poison the samplers.
        """
        return LlamaChain(options, history, self._columns, self.limits.sequence_cells)

    def interrupt(self) -> None:
        """Make the running CPU decode return INTERRUPTED soon. Any thread; a no-op on GPUs.

        When no decode runs, the next one is stopped instead.
        """
        self._stop[0] = 1

    def close(self) -> None:
        """Free the context; doing it twice is harmless."""
        pointer, self._pointer, self._memory = self._pointer, None, None
        if pointer:
            lib.llama_free(pointer)
            if self._ranks:
                self._ranks.close()
            self._on_close(self)

    def _refuse(self) -> int:
        raise EngineError("the context is closed")

    def _owners(self, sequence: int) -> tuple[int, ...]:
        """The ids that a sequence's cells belong to."""
        return (sequence, sequence + self._pins) if self._pins else (sequence,)

    def _checked_memory(self, *sequences: int) -> int:
        """The memory, after the ids were found to exist in it."""
        if self._pointer is None:
            self._refuse()
        for sequence in sequences:
            guards.check_sequence(sequence, self.limits)
        if not self._memory:
            raise EngineError("this model has no memory of sequences")
        return self._memory

    def __repr__(self) -> str:
        state = "open" if self._pointer else "closed"
        return f"<LlamaContext {state} {self.limits.cells} cells {self.limits.sequences} sequences>"


def _bytes(image: Image) -> Any:
    return image.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def _read_limits(
    pointer: int, memory: int | None, model: int, how: tuple[ContextParams, Attention, MemoryKind]
) -> ContextLimits:
    """What the library made of the parameters."""
    params, attention, kind = how
    batch, micro_batch = lib.llama_n_batch(pointer), lib.llama_n_ubatch(pointer)
    if not memory:  # an encoder must see all its rows in one graph
        batch = micro_batch
    has_encoder = lib.llama_model_has_encoder(model)
    # A recurrent state moves its positions on request, but forgets nothing.
    movable = bool(memory) and not kind.stateful
    return ContextLimits(
        cells=lib.llama_n_ctx(pointer),
        sequence_cells=lib.llama_n_ctx_seq(pointer),
        sequences=params.sequences,
        batch=batch,
        micro_batch=micro_batch,
        outputs=batch if has_encoder else min(params.outputs, batch),
        can_shift=movable and bool(lib.llama_memory_can_shift(memory)),
        attention=attention,
        sampling_threads=sampling_threads(),
        memory=kind,
    )
