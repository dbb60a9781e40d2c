"""A context's KV memory, with the book that says who holds what.

``kv`` decides and returns operations; here they are carried out at once, so that the book and the
library never differ by more than the call in progress. What another kind of memory needs done
otherwise (checkpoints, separate streams, spilling) belongs here, out of the batcher's sight.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..engine.base import Context
from ..engine.operations import Operation, carry_out
from ..engine.recovery import cut_back
from ..kv import KVPool, KVStatistics
from .seat import Seat


class Memory:
    """The cells of one context and the seats that hold them.

    Args:
        context: whose memory it is; its limits say how many cells and sequence ids there are.
        reuse: keep finished sequences and share prefixes.
    """

    def __init__(self, context: Context, *, reuse: bool) -> None:
        limits = context.limits
        self._context = context
        self._pool = KVPool(limits.cells, limits.sequences, reuse=reuse)

    @property
    def cells(self) -> int:
        """Cells of the pool."""
        return self._pool.cells

    @property
    def used(self) -> int:
        """Cells taken by live and cached sequences."""
        return self._pool.used

    @property
    def free(self) -> int:
        """Cells nobody holds."""
        return self._pool.free

    @property
    def reuse(self) -> bool:
        """Whether prefixes are shared."""
        return self._pool.reuse

    def statistics(self) -> KVStatistics:
        """Counts for the metrics and for tests."""
        return self._pool.statistics()

    def __repr__(self) -> str:
        return repr(self._pool)

    def expect(self, seat: Seat) -> None:
        """Learn from a new job's prompt what cached sequences are worth."""
        self._pool.expect(seat.job.cache_key, seat.job.prompt)

    def match(self, seat: Seat) -> int:
        """Leading tokens the seat could share now; never all of them."""
        return self._pool.match(seat.job.cache_key, seat.known)

    def admit(self, seat: Seat, headroom: int) -> int | None:
        """Give a waiting seat a sequence with ``headroom`` cells to spare after its tokens.

        Returns:
            how many of its tokens need no computing; None if it does not fit.
        """
        grant = self._pool.admit(seat.job.cache_key, seat.known, headroom)
        if grant is None:
            return None
        self._apply(grant.operations)
        seat.sequence = grant.sequence
        return grant.cached

    def grow(self, seat: Seat, count: int) -> None:
        """Note ``count`` more computed positions."""
        self._pool.grow(seat.place, count)

    def publish(self, seat: Seat) -> None:
        """Let others share what is computed of the seat's known tokens."""
        self._apply(self._pool.register(seat.place, seat.known))

    def shift(self, seat: Seat, keep: int, discard: int) -> bool:
        """Drop ``discard`` positions after the first ``keep``; False where that is impossible."""
        if not self._context.limits.can_shift:
            return False
        operations = self._pool.shift(seat.place, keep, discard)
        self._apply(operations or [])
        return operations is not None

    def release(self, seat: Seat) -> None:
        """Take the seat's sequence back; its tokens may stay cached."""
        self._apply(self._pool.release(seat.place, seat.tokens()))
        seat.sequence = None

    def trim(self) -> None:
        """Evict cached cells that slow running jobs down more than they promise to save."""
        self._apply(self._pool.trim())

    def make_room(self, need: int) -> bool:
        """Evict cached sequences until ``need`` cells are free; whether any was evicted."""
        evictions = self._pool.make_room(min(self.cells, need))
        self._apply(evictions)
        return bool(evictions)

    def drop_cache(self) -> None:
        """Forget all cached prefixes."""
        self._apply(self._pool.drop_holders())

    def cut_back(self, seats: Iterable[Seat]) -> set[int]:
        """Bring the library back to what the book says of ``seats`` after a failed decode.

        Returns:
            ids of the sequences that could not be brought back.
        """
        held = {seat.place.id: seat.place.length for seat in seats}
        return cut_back(self._context, held)

    def _apply(self, operations: Iterable[Operation]) -> None:
        carry_out(operations, self._context)

    def check(self, live: Iterable[Seat]) -> None:
        """Verify the book and that the library agrees with it about ``live``."""
        self._pool.check()
        for seat in live:
            assert self._context.seq_pos_max(seat.place.id) == seat.place.length - 1
