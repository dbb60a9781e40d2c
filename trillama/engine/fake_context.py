"""The context of the fake engine: decodes by script over modelled cells.

Opened by ``engine/fake.py``. It refuses what llama.cpp would abort on, returns the codes llama.cpp
returns, and lets a test block, fail and count through ``Hooks`` and ``Counters``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from trillama.base.adapters import Adapters
from trillama.base.errors import EngineError
from trillama.base.options import Options

from .base import (
    RANKS,
    Attention,
    Batch,
    ContextLimits,
    ContextParams,
    DecodeStatus,
    Image,
    MemoryKind,
    Ranked,
)
from .embedding import Pooling
from .fake_cells import CellPool
from .fake_chain import FakeChain
from .fake_hooks import Counters, Failure, Hooks
from .fake_scripts import Script, echo_canary
from .fake_vocab import CHATML, SIZE, FakeVocabulary

PEAK = 30.0
"""Logit of the scripted token; all others lie in [0, 1)."""

_BROKEN_OFF = (DecodeStatus.INTERRUPTED, DecodeStatus.ALLOC_FAILED, DecodeStatus.COMPUTE_FAILED)
"""Where a decode was begun: states, which it moves about, may be left half way, whosever they are
(llama.cpp src/llama-memory-recurrent.cpp, find_slot)."""

_NOISE = np.random.default_rng(0).random((64, SIZE), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeWeights:
    """What a fake model file holds."""

    script: Script = echo_canary
    chat_template: str = CHATML
    train_context: int = 4096
    size: int = 1 << 20
    add_bos: bool = False
    fill: bool = False
    can_shift: bool = True
    ranks: bool = False
    memory: MemoryKind = MemoryKind.ATTENTION
    pooling: Pooling | None = Pooling.LAST


class FakeContext:
    """One pool of cells and a script; fulfils :class:`trillama.engine.base.Context`.

    Attributes:
        counters: what was asked of it.
        closed: True after ``close``.
    """

    def __init__(
        self,
        weights: FakeWeights,
        hooks: Hooks,
        params: ContextParams,
        adapters: Sequence[str] = (),
    ) -> None:
        sequences = max(1, params.sequences)
        batch = max(params.batch, sequences)
        separate = not params.unified
        self.limits = ContextLimits(
            cells=params.cells,
            sequence_cells=params.cells // sequences if separate else params.cells,
            sequences=sequences,
            batch=batch,
            micro_batch=min(params.micro_batch, batch),
            outputs=min(params.outputs, batch),
            can_shift=weights.can_shift,
            attention=Attention.SEPARATE if separate else Attention.TILED,
            ranks=weights.ranks,
            memory=weights.memory,
        )
        self.vocabulary = FakeVocabulary(add_bos=weights.add_bos, fill=weights.fill)
        self.counters = Counters()
        self.closed = False
        self._hooks = hooks
        self._loaded = adapters
        self._adapters: Adapters = ()
        self._script = weights.script
        # A recurrent model has no cells that could run short.
        pools = sequences if weights.memory is MemoryKind.RECURRENT else 1
        self._pool = CellPool(params.cells * pools, sequences)
        self._logits = np.empty((self.limits.outputs, SIZE), np.float32)
        self._outputs = 0
        self._interrupted = threading.Event()
        self._inside = threading.Lock()

    def __repr__(self) -> str:
        return f"<FakeContext {self.cells_used}/{self.limits.cells} cells>"

    @property
    def cells_used(self) -> int:
        """Cells owned by at least one sequence."""
        return self._pool.used

    def tokens_of(self, sequence: int) -> list[int]:
        """Tokens ``sequence`` sees, in the order of positions."""
        return list(self._pool.history(sequence).tokens)

    @contextmanager
    def _alone(self, *sequences: int) -> Iterator[None]:
        if self.closed:
            raise EngineError("the context is closed")
        if not all(0 <= sequence < self.limits.sequences for sequence in sequences):
            raise EngineError(f"sequence ids out of range: {sequences}")
        if not self._inside.acquire(blocking=False):
            raise EngineError("the context is used by two threads at once")
        try:
            yield
        finally:
            self._inside.release()

    def new_batch(self) -> Batch:
        """A batch of ``limits.batch`` rows."""
        return Batch(self.limits.batch)

    def decode(self, batch: Batch) -> DecodeStatus:
        """Compute all rows; hooks and scripted failures come first.

        Raises:
            EngineError: more rows or outputs than the limits, which llama.cpp would abort on.
        """
        with self._alone():
            if batch.size > self.limits.batch or batch.outputs > self.limits.outputs:
                raise EngineError(f"{batch.size} rows, {batch.outputs} outputs: beyond the limits")
            turn = self.counters.decodes
            self.counters.decodes += 1
            self._outputs = 0
            os.stat(os.devnull)  # lets the GIL go, as a real decode does
            if self._hooks.on_decode:
                self._hooks.on_decode(batch)
            status, rows = self._verdict(turn, batch)
            if rows:
                status = self._compute(batch, status, rows)
            if self.limits.memory.stateful and status in _BROKEN_OFF:
                self._pool.tear()
            if status is DecodeStatus.NO_ROOM:
                self.counters.no_room += 1
            return status

    def _verdict(self, turn: int, batch: Batch) -> tuple[DecodeStatus, int]:
        """What will become of the decode, and how many rows will be computed."""
        fate = self._hooks.fail.get(turn, DecodeStatus.OK)
        if isinstance(fate, Exception):
            raise fate
        if not self._valid(batch):
            return DecodeStatus.INVALID, 0
        if batch.size > self._pool.free:
            return DecodeStatus.NO_ROOM, 0
        if isinstance(fate, Failure):
            return fate.status, min(fate.rows, batch.size)
        return fate, batch.size if fate is DecodeStatus.OK else 0

    def _valid(self, batch: Batch) -> bool:
        rows = slice(batch.size)
        tokens, sequences = batch.tokens[rows], batch.sequences[rows]
        if not batch.size or tokens.min() < 0 or tokens.max() >= SIZE:
            return False
        if sequences.min() < 0 or sequences.max() >= self.limits.sequences:
            return False
        last: dict[int, int] = {}
        for sequence, position in zip(
            sequences.tolist(), batch.positions[rows].tolist(), strict=True
        ):
            if sequence not in last:
                last[sequence] = self._pool.history(sequence).last
            if not last[sequence] + 1 == position < self.limits.sequence_cells:
                return False
            last[sequence] = position
        return True

    def _compute(self, batch: Batch, status: DecodeStatus, rows: int) -> DecodeStatus:
        micro = self.limits.micro_batch
        digests: list[int] = []
        replies: list[int] = []
        borders = [*range(0, rows, micro), rows]
        for begin, end in pairwise(borders):
            if self._interrupted.is_set():
                self._interrupted.clear()
                return DecodeStatus.INTERRUPTED
            self._place(batch, slice(begin, end), digests, replies)
        counters = self.counters
        counters.max_rows = max(counters.max_rows, rows)
        counters.max_outputs = max(counters.max_outputs, len(replies))
        if status is DecodeStatus.OK and replies:
            self._outputs = len(replies)
            view = self._logits[: self._outputs]
            np.take(_NOISE, np.array(digests) % len(_NOISE), axis=0, out=view)
            view[np.arange(len(replies)), replies] = PEAK
        return status

    def _place(self, batch: Batch, rows: slice, digests: list[int], replies: list[int]) -> None:
        columns = (batch.sequences, batch.tokens, batch.positions, batch.wants_logits)
        for sequence, token, position, wanted in zip(
            *(column[rows].tolist() for column in columns), strict=True
        ):
            history = self._pool.append(sequence, token, position, self._adapters)
            if wanted:
                digests.append(history.digest)
                replies.append(self._script(history))
                self.counters.incoherent += not history.coherent
        self.counters.tokens_decoded += rows.stop - rows.start

    def set_adapters(self, adapters: Adapters) -> None:
        """Compute with these from now on.

        Raises:
            EngineError: one was never loaded.
        """
        with self._alone():
            if not all(one.path in self._loaded for one in adapters):
                raise EngineError(f"not all of these adapters are loaded: {adapters}")
            self.counters.adapters += adapters != self._adapters
            self._adapters = adapters

    def logits(self) -> npt.NDArray[np.float32]:
        """View of the last decode's rows; the next decode overwrites it."""
        with self._alone():
            return self._logits[: self._outputs]

    def ranked(self) -> Ranked | None:
        """The best of each row of the last decode, where the weights are ones that are ranked."""
        with self._alone():
            if not self.limits.ranks or not self._outputs:
                return None
            self.counters.rankings += 1
            logits = self._logits[: self._outputs]
            ids = (-logits).argsort(axis=1, kind="stable")[:, :RANKS]
            return Ranked(np.take_along_axis(logits, ids, 1), ids)

    def seq_copy(self, source: int, target: int, start: int, end: int) -> None:
        """Make ``target`` share the cells of ``source``; see ``base.Context.seq_copy``.

        Raises:
            EngineError: ``target`` holds another cell at one of the positions, or a part is to be
                copied between separate cells.
        """
        with self._alone(source, target):
            self.counters.copies += 1
            if source == target:
                return
            if self.limits.memory.stateful:
                raise EngineError("a state is not copied in part")
            if not self.limits.separate:
                self._pool.copy(source, target, start, _open_end(end))
            elif start > 0 or end <= self._pool.history(source).last:
                raise EngineError("a part of a stream cannot be copied")
            else:
                self._pool.duplicate(source, target)

    def seq_remove(self, sequence: int, start: int = 0, end: int = -1) -> bool:
        """Drop positions [start, end); a state can only be dropped as a whole."""
        with self._alone(sequence):
            self.counters.removes += 1
            if self.limits.memory.stateful and 0 < start <= self._pool.history(sequence).last:
                return False
            self._pool.remove(sequence, start, _open_end(end))
            return True

    def seq_shift(self, sequence: int, start: int, end: int, delta: int) -> None:
        """Move positions [start, end) by ``delta``, for every sequence that shares the cells.

        Raises:
            EngineError: the model cannot shift, or two cells would meet.
        """
        with self._alone(sequence):
            if not self.limits.can_shift:
                raise EngineError("this model's positions cannot be shifted")
            self.counters.shifts += 1
            self._pool.shift(sequence, start, _open_end(end), delta)

    def seq_pos_max(self, sequence: int) -> int:
        """Last position held, -1 when empty."""
        with self._alone(sequence):
            return self._pool.history(sequence).last

    def save(self, sequence: int) -> Image:
        """An image of all that a sequence holds."""
        with self._alone(sequence):
            self.counters.saves += 1
            return self._pool.save(sequence)

    def restore(self, sequence: int, image: Image) -> bool:
        """Give an empty sequence what was saved; False where there is no room."""
        with self._alone(sequence):
            self.counters.restores += 1
            return self._pool.restore(sequence, image)

    def clear(self) -> None:
        """Forget every sequence."""
        with self._alone():
            self.counters.clears += 1
            self._pool.clear()

    def new_chain(self, options: Options, history: npt.NDArray[np.int32]) -> FakeChain:
        """A sampler for ``options``; penalties are left out, so ``history`` is not read."""
        with self._alone():
            self.counters.chains += 1
            return FakeChain(options, self.counters)

    def interrupt(self) -> None:
        """Make the running decode, or else the next one, stop between two micro batches."""
        self._interrupted.set()

    def close(self) -> None:
        """Free the context; a second call does nothing."""
        self.closed = True


def _open_end(end: int) -> float:
    return float("inf") if end < 0 else end
