"""A context's KV memory, with the book that says who holds what.

``kv``, ``streams`` or ``states`` decides and returns operations; here they are carried out at once,
so that the book and the library never differ by more than the call in progress. What one kind of
memory needs done otherwise than another belongs here, out of the batcher's sight.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..engine.base import Context, MemoryKind
from ..engine.operations import Operation, carry_out
from ..engine.recovery import cut_back
from ..engine.saved_states import SavedStates
from ..kv import KVPool, KVStatistics
from .plan import Plan
from .seat import Seat
from .states import StateBook
from .streams import StreamBook


class Memory:
    """The cells of one context and the seats that hold them.

    Args:
        context: whose memory it is; its limits say how many cells and sequence ids there are.
        reuse: keep finished sequences and share prefixes.
        host_cache: bytes of the host's memory for saved sequences.
    """

    def __init__(self, context: Context, *, reuse: bool, host_cache: int = 0) -> None:
        limits = context.limits
        self._context = context
        self._fillers: list[tuple[int, int]] = []
        # What has left a window is in no image (llama.cpp src/llama-kv-cache.cpp, state_write):
        # cut or shared, it would say something else than the sequence it was made of.
        budget = 0 if limits.memory is MemoryKind.SLIDING else host_cache
        self._states = SavedStates(budget, whole=limits.memory.stateful)
        self._book: KVPool | StreamBook | StateBook
        if limits.memory.stateful:
            pooled = limits.memory is MemoryKind.HYBRID
            self._book = StateBook(
                limits.cells, limits.sequences, self._states, pooled=pooled, reuse=reuse
            )
        elif limits.separate:
            self._book = StreamBook(
                limits.sequence_cells, limits.sequences, reuse=reuse, states=self._states
            )
        else:
            self._book = KVPool(limits.cells, limits.sequences, reuse=reuse, states=self._states)

    @property
    def cells(self) -> int:
        """Cells there are."""
        return self._book.cells

    @property
    def used(self) -> int:
        """Cells taken by live and cached sequences."""
        return self._book.used

    @property
    def free(self) -> int:
        """Cells that live seats may still take."""
        return self._book.free

    @property
    def reuse(self) -> bool:
        """Whether prefixes are shared."""
        return self._book.reuse

    def statistics(self) -> KVStatistics:
        """Counts for the metrics and for tests."""
        states = self._states
        return replace(
            self._book.statistics(),
            saved=len(states),
            saved_bytes=states.used,
            restored=states.restored,
        )

    def __repr__(self) -> str:
        return repr(self._book)

    def expect(self, seat: Seat) -> None:
        """Learn from a new job's prompt what cached sequences are worth."""
        self._book.expect(seat.job.prefix_key, seat.job.prompt)

    def match(self, seat: Seat) -> int:
        """Leading tokens the seat could share now; never all of them."""
        return self._book.match(seat.job.prefix_key, seat.known)

    def fork(self, seat: Seat, length: int) -> None:
        """Note that another prompt shares ``length`` tokens with a seat's and waits for them."""
        if isinstance(self._book, StateBook):
            self._book.stop_at(seat.place, length)

    def admit(self, seat: Seat, headroom: int) -> int | None:
        """Give a waiting seat a sequence with ``headroom`` cells to spare after its tokens.

        Returns:
            how many of its tokens need no computing; None if it does not fit.
        """
        grant = self._book.admit(seat.job.prefix_key, seat.known, headroom)
        if grant is None:
            return None
        self._apply(grant.operations)
        seat.sequence = grant.sequence
        return grant.cached

    def grow(self, seat: Seat, count: int) -> None:
        """Note ``count`` more computed positions."""
        self._book.grow(seat.place, count)

    def grow_heads(self, heads: Iterable[Seat]) -> None:
        """Note that what was pending of ``heads`` is computed."""
        grow = self._book.grow
        for seat in heads:
            grow(seat.place, seat.pending)

    def publish(self, seat: Seat) -> None:
        """Let others share what is computed of the seat's known tokens."""
        self._apply(self._book.register(seat.place, seat.known))

    def cut(self, seat: Seat) -> None:
        """Drop guessed tokens that turned out wrong."""
        if seat.ahead and seat.sequence is not None:
            self._context.seq_remove(seat.place.id, seat.place.length)

    def shift(self, seat: Seat, keep: int, discard: int) -> bool:
        """Drop ``discard`` positions after the first ``keep``; False where that is impossible."""
        if not self._context.limits.can_shift:
            return False
        self.cut(seat)
        operations = self._book.shift(seat.place, keep, discard)
        self._apply(operations or [])
        return operations is not None

    def release(self, seat: Seat) -> None:
        """Take the seat's sequence back; its tokens may stay cached."""
        self.cut(seat)
        self._apply(self._book.release(seat.place, seat.tokens()))
        seat.sequence = None

    def trim(self) -> None:
        """Evict cached cells that slow running jobs down more than they promise to save."""
        self._apply(self._book.trim())

    def make_room(self, need: int) -> bool:
        """Evict cached sequences until ``need`` cells are free; whether any was evicted."""
        evictions = self._book.make_room(min(self.cells, need))
        self._apply(evictions)
        return bool(evictions)

    def drop_cache(self) -> None:
        """Forget all cached prefixes."""
        self._apply(self._book.drop_holders())
        self._states.clear()

    def fillers(self, plan: Plan, worth: float) -> list[tuple[int, int]]:
        """Streams that get a row so that those of the plan are computed together, each with its
        next position; ``drop_fillers`` takes the rows out of them again.

        Args:
            worth: see ``StreamBook.fillers``.
        """
        if isinstance(self._book, StreamBook) and not plan.chunks:
            spare = self._context.limits.batch - plan.new_tokens
            self._fillers = self._book.fillers([seat.place for seat in plan.heads], worth)[:spare]
        return self._fillers

    def drop_fillers(self) -> None:
        """Forget what was computed only to keep streams together."""
        for at, start in self._fillers:
            self._context.seq_remove(at, start)
        self._fillers = []

    def cut_back(self, seats: Iterable[Seat], begun: Sequence[Seat]) -> tuple[set[int], list[Seat]]:
        """Bring the library back to what the book says of ``seats`` after a failed decode.

        Args:
            begun: everybody who is live, if the library began to compute; nobody if it did not.

        Returns:
            ids of sequences whose last position was another one, and seats that have to begin
            again. A state may have gone too far; and states are moved about by every decode, those
            of others too, which is noted before and done while it computes: nobody can tell whose
            were left half way (llama.cpp src/llama-memory-recurrent.cpp, find_slot). Sequences
            that begin where they are removed could be torn, too, so all is cleared.
        """
        broken = cut_back(self._context, {s.place.id: s.place.length for s in seats})
        spoiled = list(begun) if self._context.limits.memory.stateful else []
        for seat in spoiled:
            seat.place.shifted = True
        if spoiled:
            self._context.clear()
        return broken, spoiled

    def _apply(self, operations: Iterable[Operation]) -> None:
        carry_out(operations, self._context, self._states)

    def check(self, live: Iterable[Seat]) -> None:
        """Verify the book and that the library agrees with it about ``live``."""
        self._book.check()
        self._states.check()
        for seat in live:
            assert self._context.seq_pos_max(seat.place.id) == seat.place.length - 1
