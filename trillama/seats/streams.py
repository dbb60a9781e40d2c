"""Book-keeping of a context whose sequences have cells of their own.

The counterpart of ``kv``'s pool, with the same methods: which stream holds which tokens, and which
finished ones are kept for later prompts. Cells never run short, streams do. A prefix is shared by
copying a whole stream, which costs memory bandwidth where computing it would cost time. What is
given up for want of streams may go to the host's memory, from where later prompts get it back.

llama.cpp computes streams in one execution of its graph only where their ids follow each other, so
jobs are kept together: a newcomer goes where the way to the others and making room for it cost
least, both reckoned in tokens that could be computed meanwhile. ``fillers`` bridges the gaps that
ended jobs leave. Copies are whole streams, however few of their cells are in use, and those of a
long context weigh gigabytes: what a finished stream is likely to save must be worth its move.

Facts: llama.cpp src/llama-batch.cpp (split_equal, sequential), src/llama-kv-cache.cpp (seq_cp).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from ..engine.operations import Copy, Operation, Remove, Restore, Save, Shift
from ..engine.prefix_tree import Tokens, common_length
from ..engine.reuse import ReuseForecast
from ..engine.saved_states import Saved, SavedStates
from ..kv import MIN_REUSE, MIN_SHARE, Grant, KVStatistics, Place

CELLS_A_TOKEN = 256
"""Copying so many cells takes no longer than computing one token."""
WIDEST_GAP = 8
"""A row for each stream of a wider gap costs more than another execution of the graph."""
APART = 64
"""Tokens that could be computed for what an answer pays, until its end, for each stream between it
and the others."""


@dataclass(eq=False, slots=True, kw_only=True)
class Stream(Place):
    """A stream in use.

    Attributes:
        tokens: those of its registered positions, and maybe more.
        used_at: when a job left it, counted in jobs.
    """

    tokens: Tokens = field(default_factory=lambda: np.empty(0, np.int32))
    used_at: int = 0


class StreamBook:
    """The streams of one context.

    Args:
        cells: positions each stream has room for.
        streams: how many there are.
        reuse: keep finished streams and share prefixes.
        states: where long streams go that are given up, to be restored for a prompt that matches.
    """

    def __init__(
        self,
        cells: int,
        streams: int,
        *,
        reuse: bool = True,
        states: SavedStates | None = None,
    ) -> None:
        self._room = cells
        self.cells = cells * streams
        self.reuse = reuse
        self._copying = cells // CELLS_A_TOKEN
        self._least = max(MIN_REUSE, self._copying)
        self._at: list[Stream | None] = [None] * streams
        self._ended = 0
        self._evictions = 0
        self._forecast = ReuseForecast()
        self._states = SavedStates(0, whole=False) if states is None else states

    def _taken(self) -> Iterator[Stream]:
        return (stream for stream in self._at if stream is not None)

    def _live(self) -> Iterator[Stream]:
        return (stream for stream in self._taken() if stream.live)

    def _holders(self) -> list[Stream]:
        """Finished streams, the one left longest ago first."""
        holders = [stream for stream in self._taken() if not stream.live]
        return sorted(holders, key=lambda stream: stream.used_at)

    @property
    def used(self) -> int:
        """Cells that hold something."""
        return sum([stream.length for stream in self._at if stream])

    @property
    def free(self) -> int:
        """Cells that live streams have left."""
        return sum([self._room - stream.length for stream in self._at if stream and stream.live])

    def statistics(self) -> KVStatistics:
        """Counts for the metrics and for tests."""
        holders = self._holders()
        idle, live = sum(stream.length for stream in holders), sum(1 for _ in self._live())
        return KVStatistics(self.cells, self.used, idle, live, len(holders), self._evictions)

    def __repr__(self) -> str:
        s = self.statistics()
        return f"<StreamBook {len(self._at)} streams, {s.live} live, {s.holders} held>"

    # -- admission ------------------------------------------------------------------------------

    def match(self, key: str, tokens: Tokens) -> int:
        """Leading tokens a new job could take over now; never all of them."""
        matched = self._match(key, tokens)[1]
        return self._states.beyond(key, tokens[:-1], matched)[1] or matched

    def _match(self, key: str, tokens: Tokens) -> tuple[Stream | None, int]:
        best, longest = None, self._least - 1
        for stream in self._taken() if self.reuse else ():
            if stream.key == key and stream.registered > longest:
                same = common_length(stream.tokens[: stream.registered], tokens[:-1])
                # At equal length one that need not be copied is better.
                if same > longest or (same == longest and best and best.live > stream.live):
                    best, longest = stream, same
        return (best, longest) if best else (None, 0)

    def admit(self, key: str, tokens: Tokens, headroom: int = 0) -> Grant | None:
        """Give a prompt a stream, with the longest known prefix in it; None if all are live.

        Args:
            key: only jobs admitted under the same key share prefixes.
            tokens: the prompt, shape (n,), n >= 1.
            headroom: of no meaning here; a stream has room for its job.
        """
        if all(stream and stream.live for stream in self._at):
            return None
        donor, matched = self._match(key, tokens)
        target = self._target(besides=donor)
        saved, kept = self._states.beyond(key, tokens[:-1], matched)
        if saved:
            return self._restore(key, tokens[:kept], saved, target)
        if donor is None:
            operations = self._vacate(target)
            return Grant(self._begin(Stream(id=target, key=key)), 0, operations)
        if not donor.live and donor.length - matched < self._least:
            return Grant(donor, matched, self._continue(donor, matched, target))
        return self._branch(donor, matched, target)

    def _restore(self, key: str, tokens: Tokens, saved: Saved, target: int) -> Grant:
        """A stream that begins with ``tokens``, out of what was saved."""
        operations = [*self._vacate(target), Restore(target, saved, len(tokens))]
        count = len(tokens)
        stream = Stream(id=target, key=key, length=count, registered=count, tokens=tokens)
        return Grant(self._begin(stream), count, operations)

    def _begin(self, stream: Stream) -> Stream:
        self._at[stream.id] = stream
        return stream

    def _target(self, besides: Stream | None) -> int:
        """Where a job goes next, if not all are live. ``besides`` is the last to be chosen."""
        span, next_to_go = self._span(), self._next_to_go()
        places = [
            (one is besides is not None, _apart(at, span) + self._vacating(one, next_to_go), at)
            for at, one in enumerate(self._at)
            if not (one and one.live)
        ]
        return min(places)[2]

    def _span(self) -> range:
        """From the first live stream to the last."""
        live = [stream.id for stream in self._live()]
        return range(live[0], live[-1] + 1) if live else range(0)

    def _next_to_go(self) -> Stream | None:
        """Who is given up if a stream is needed; nobody while there is an empty one."""
        return None if None in self._at else next(iter(self._holders()), None)

    def _vacating(self, holder: Stream | None, next_to_go: Stream | None) -> float:
        """Tokens that could be computed for what it costs to empty a stream."""
        if holder is None or holder is next_to_go:
            return 0.0
        return min(self._copying, self._worth(holder))

    def _worth(self, holder: Stream) -> float:
        """Tokens that a finished stream is likely to save."""
        return self._forecast.share * holder.registered

    def _continue(self, holder: Stream, matched: int, target: int) -> list[Operation]:
        """Wake a finished stream, cut back to the match; at ``target`` if the move is worth it."""
        operations: list[Operation] = []
        span, there = self._span(), self._vacating(self._at[target], self._next_to_go())
        if self._copying + _apart(target, span) + there < _apart(holder.id, span):
            operations += self._vacate(target, spare=holder)
            if self._at[target] is None:
                operations += self._move(holder, target)
        operations += self._cut(holder, matched)
        holder.live = True
        return operations

    def _branch(self, donor: Stream, matched: int, target: int) -> Grant:
        """A stream of its own that begins like ``donor``, which stays as it is if it can."""
        operations = self._vacate(target, spare=donor)
        if self._at[target] is donor:  # nowhere else to go: it is used up
            operations += self._spill(donor) + self._cut(donor, matched)
            donor.live = True
            self._evictions += 1
            return Grant(donor, matched, operations)
        stream = self._begin(
            Stream(
                id=target, key=donor.key, length=matched, registered=matched, tokens=donor.tokens
            )
        )
        operations.append(Copy(donor.id, target, 0, donor.length))
        if donor.length > matched:
            operations.append(Remove(target, matched))
        return Grant(stream, matched, operations)

    def _cut(self, stream: Stream, length: int) -> list[Operation]:
        untidy = stream.length > length
        stream.length = stream.registered = length
        return [Remove(stream.id, length)] if untidy else []

    def _move(self, stream: Stream, target: int) -> list[Operation]:
        source, stream.id = stream.id, target
        self._at[source], self._at[target] = None, stream
        return [Copy(source, target, 0, stream.length), Remove(source)]

    def _vacate(self, target: int, spare: Stream | None = None) -> list[Operation]:
        """Empty a stream that is not live: what it holds goes away if that is no great loss, or
        where nothing is, or where the stream left longest ago was. ``spare`` is never dropped."""
        holder = self._at[target]
        if holder is None:
            return []
        if holder is not spare and self._worth(holder) < self._copying:
            return self._give_up(holder)
        if None in self._at:
            return self._move(holder, len(self._at) - 1 - self._at[::-1].index(None))
        oldest = next((one for one in self._holders() if one is not spare), None)
        if oldest is None:
            return []
        operations = self._give_up(oldest)
        return operations if oldest is holder else operations + self._move(holder, oldest.id)

    # -- growth ---------------------------------------------------------------------------------

    def grow(self, stream: Place, count: int = 1) -> None:
        """Note ``count`` more computed positions."""
        stream.length += count

    def register(self, stream: Place, tokens: Tokens) -> list[Operation]:
        """Let others take over what is computed of ``tokens``."""
        assert isinstance(stream, Stream)
        if not stream.shifted:
            stream.tokens, stream.registered = tokens, min(len(tokens), stream.length)
        return []

    def shift(self, stream: Place, keep: int, discard: int) -> list[Operation] | None:
        """Drop ``discard`` positions after the first ``keep`` and close the gap."""
        end = stream.length
        stream.length, stream.registered = end - discard, min(stream.registered, keep)
        stream.shifted = True
        return [
            Remove(stream.id, keep, keep + discard),
            Shift(stream.id, keep + discard, end, -discard),
        ]

    # -- release and eviction -------------------------------------------------------------------

    def release(self, stream: Place, tokens: Tokens) -> list[Operation]:
        """End a job; its stream stays if that can help anyone.

        Args:
            tokens: the tokens of at least all computed positions.
        """
        assert isinstance(stream, Stream)
        self.register(stream, tokens)
        stream.live, self._ended = False, self._ended + 1
        stream.used_at = self._ended
        self._forecast.remember(stream.key, stream.tokens[: stream.registered])
        if not self.reuse or stream.shifted or self._is_held(stream):
            return self._drop(stream)
        return self._cut(stream, stream.registered)

    def _is_held(self, stream: Stream) -> bool:
        """Whether the stream is too short to help, or another one begins with all of it."""
        own = stream.tokens[: stream.registered]
        if len(own) < self._least:
            return True
        return any(
            other.key == stream.key
            and other.registered >= len(own)
            and common_length(other.tokens[: other.registered], own) == len(own)
            for other in self._taken()
            if other is not stream
        )

    def expect(self, key: str, prompt: Tokens) -> None:
        """Learn from a prompt, before its admission, whether saving streams is likely to help."""
        held = [
            common_length(stream.tokens[: stream.registered], prompt)
            for stream in self._live()
            if stream.key == key
        ]
        self._forecast.observe(key, prompt, max(held, default=0))

    def trim(self) -> list[Operation]:
        """Nothing has to go for the sake of speed."""
        return []

    def make_room(self, need: int) -> list[Operation]:
        """No job needs another's cells."""
        return []

    def _give_up(self, holder: Stream) -> list[Operation]:
        """Empty a finished stream for want of room."""
        self._evictions += 1
        return self._spill(holder) + self._drop(holder)

    def _spill(self, holder: Stream) -> list[Operation]:
        """Save a finished stream that is given up, if later prompts are likely to match it."""
        tokens = holder.tokens[: holder.registered]
        likely = self._forecast.share >= MIN_SHARE
        wanted = likely and self._states.wants(holder.key, tokens)
        return [Save(holder.id, holder.key, tokens)] if wanted else []

    def drop_holders(self) -> list[Operation]:
        """Forget everything cached."""
        holders = self._holders()
        self._evictions += len(holders)
        return [operation for holder in holders for operation in self._drop(holder)]

    def _drop(self, stream: Stream) -> list[Operation]:
        self._at[stream.id] = None
        return [Remove(stream.id)]

    # -- steps ----------------------------------------------------------------------------------

    def fillers(self, heads: list[Place], worth: float = 0.0) -> list[tuple[int, int]]:
        """Streams between those of a step, each with the position it could compute next.

        Args:
            heads: who computes a token.
            worth: cells a row may pay for at the price of another execution: all rows pay for a
                stream between them that is longer than they are.

        Returns:
            streams that make the ids follow each other, where that is cheaper than computing the
            parts apart; what is computed in them has to be removed again.
        """
        taken = sorted([head.id for head in heads])
        if taken[-1] - taken[0] < len(taken):
            return []
        longest = max(head.length for head in heads)
        found: list[tuple[int, int]] = []
        for before, after in pairwise(taken):
            gap = [(at, self._length(at)) for at in range(before + 1, after)]
            reach = max([longest, *(length for _, length in gap)])
            full = reach >= self._room  # one of them has no room for a row
            if len(gap) <= WIDEST_GAP and not full and len(taken) * (reach - longest) <= worth:
                found, longest = found + gap, reach
        return found

    def _length(self, at: int) -> int:
        stream = self._at[at]
        return stream.length if stream else 0

    def check(self) -> None:
        """Verify that the streams tell a sound story."""
        for at, stream in enumerate(self._at):
            if stream is None:
                continue
            assert stream.id == at
            assert 0 <= stream.registered <= stream.length <= self._room
            assert stream.registered <= len(stream.tokens)
            assert stream.live or stream.registered == stream.length


def _apart(at: int, span: range) -> float:
    """Tokens that could be computed for what it costs to answer there beside those that live: each
    stream between needs a filler, and a place among them makes one needless."""
    if at in span:
        return -APART
    gap = max(span.start - at - 1, at - span.stop, 0) if span else 0
    return APART * min(gap, WIDEST_GAP + 1)
