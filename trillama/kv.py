"""Book-keeping of one context's KV pool: sequence ids, cells, and what may be shared or evicted.

Owns: which sequence id holds which tokens, how many of the pool's cells that takes, and which
finished sequences ("holders") are kept so that later prompts can share their beginning.
Called by: ``batching`` alone, on the engine thread.
Never: touches the library. Every method decides at once and returns the operations (``Copy``,
``Remove``, ``Shift``) that make the library's memory agree; the caller carries them out in order.
A cancelled request is a ``release`` like any other; it never leaves anything behind.

    used = cells of all tree nodes + private tails of live sequences
    idle = cells of nodes that only holders own; these can be evicted
    free = cells - used                                     (``check`` verifies all three)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .engine.operations import Copy, Operation, Remove, Restore, Save, Shift
from .engine.places import Grant as Grant
from .engine.places import KVStatistics as KVStatistics
from .engine.places import Place as Place
from .engine.prefix_tree import Node, PrefixTree, Tokens, common_length
from .engine.reuse import ReuseForecast
from .engine.saved_states import Saved, SavedStates

MIN_REUSE = 16
"""Shorter common prefixes are computed again: a copy scans the whole pool in the library."""
MIN_SHARE = 0.02
"""Below this forecast nothing stays cached beside running jobs, nor is saved: even a few cells high
up in the pool make every attention run over the whole range below them."""


@dataclass(eq=False, slots=True, kw_only=True)
class Sequence(Place):
    """A place in the pool: its registered part is in the tree, the rest is a private tail."""

    node: Node


class KVPool:
    """The cells and sequence ids of one context.

    Args:
        cells: cells of the pool.
        sequences: sequence ids, live ones and holders together.
        reuse: keep finished sequences and share prefixes; off, nothing is ever shared.
        states: where long evicted sequences go, to be restored for a prompt that matches.
    """

    def __init__(
        self,
        cells: int,
        sequences: int,
        *,
        reuse: bool = True,
        states: SavedStates | None = None,
    ) -> None:
        self.cells = cells
        self.reuse = reuse
        self._tree = PrefixTree()
        self._tails = 0
        self._ids = sequences
        self._free_ids = list(range(sequences - 1, -1, -1))
        self._live: dict[int, Sequence] = {}
        self._holders: dict[int, Sequence] = {}
        self._evictions = 0
        self._forecast = ReuseForecast()
        self._states = SavedStates(0, whole=False) if states is None else states

    @property
    def used(self) -> int:
        """Cells taken by live and cached sequences."""
        return self._tree.cells + self._tails

    @property
    def free(self) -> int:
        """Cells nobody holds."""
        return self.cells - self.used

    def statistics(self) -> KVStatistics:
        """Counts for the metrics and for tests."""
        live, holders = len(self._live), len(self._holders)
        return KVStatistics(self.cells, self.used, self._tree.idle, live, holders, self._evictions)

    def __repr__(self) -> str:
        s = self.statistics()
        return f"<KVPool {s.used}/{s.cells} cells, {s.live} live, {s.holders} held>"

    # -- admission ------------------------------------------------------------------------------

    def match(self, key: str, tokens: Tokens) -> int:
        """Leading tokens a new sequence need not compute; never all of them."""
        matched = self._match(key, tokens)[1]
        return self._states.beyond(key, tokens[:-1], matched)[1] or matched

    def admit(self, key: str, tokens: Tokens, headroom: int = 0) -> Grant | None:
        """Give a prompt a sequence, sharing the longest known prefix; None if it does not fit.

        At least the last token is always left to compute, because its logits are needed.

        Args:
            key: only sequences admitted under the same key share prefixes.
            tokens: the prompt, shape (n,), n >= 1.
            headroom: cells that must be left over after the prompt.
        """
        node, matched = self._match(key, tokens)
        saved, kept = self._states.beyond(key, tokens[:-1], matched)
        if saved and (grant := self._restore(key, tokens[:kept], saved, len(tokens) + headroom)):
            return grant
        need = len(tokens) - matched + headroom
        if need > self.free + self._tree.idle - self._tree.idle_on(node, matched):
            return None
        if not self._free_ids and not self._holders:
            return None
        sequence, operations = self._place(key, node, matched)
        operations += self.make_room(need)
        return Grant(sequence, matched, operations)

    def _match(self, key: str, tokens: Tokens) -> tuple[Node, int]:
        if self.reuse:
            node, matched = self._tree.match(key, tokens[:-1])
            if matched >= MIN_REUSE:
                return node, matched
        return self._tree.root(key), 0

    def _restore(self, key: str, tokens: Tokens, saved: Saved, need: int) -> Grant | None:
        """A sequence that begins with what was saved; None if it does not fit.

        Cells that the tree has as well are given back at once, but until then there has to be room
        for the whole image.
        """
        need = max(need, len(saved.tokens))
        if need > self.free + self._tree.idle or not (self._free_ids or self._holders):
            return None
        sequence, operations = self._place(key, self._tree.root(key), 0)
        operations += self.make_room(need)
        operations.append(Restore(sequence.id, saved, len(tokens)))
        self.grow(sequence, len(tokens))
        operations += self.register(sequence, tokens)
        return Grant(sequence, len(tokens), operations)

    def _place(self, key: str, node: Node, matched: int) -> tuple[Sequence, list[Operation]]:
        """A live sequence whose first ``matched`` tokens are those of ``node``'s path."""
        depth = node.depth
        whole = self._holder_ending_at(node) if matched == depth else None
        if whole is not None:
            self._wake(whole)
            return whole, []
        if matched < depth:
            node = self._tree.split(node, len(node.tokens) - (depth - matched))
        donor = self._donor(node) if matched else None
        operations = [] if self._free_ids else self._evict_one(spare=donor)
        if not self._free_ids:
            assert donor is not None, "admit checked that an id can be had"
            return self._continue_from(self._holders[donor], node, matched)
        sequence = Sequence(
            id=self._free_ids.pop(), key=key, node=node, length=matched, registered=matched
        )
        self._live[sequence.id] = sequence
        for step in node.path():
            self._tree.own(step, sequence.id)
        if donor is not None:
            operations.append(Copy(donor, sequence.id, 0, matched))
        return sequence, operations

    def _holder_ending_at(self, node: Node) -> Sequence | None:
        """A holder with exactly this path, which can simply be continued."""
        holders = (self._holders.get(owner) for owner in node.owners)
        return next((holder for holder in holders if holder and holder.node is node), None)

    def _continue_from(
        self, holder: Sequence, node: Node, matched: int
    ) -> tuple[Sequence, list[Operation]]:
        """Cut the only holder left back to the match, when no other id can be had."""
        self._tree.disown(holder.node, holder.id, stop=node)
        holder.node, holder.length, holder.registered = node, matched, matched
        self._wake(holder)
        return holder, [Remove(holder.id, matched)]

    def _donor(self, node: Node) -> int:
        """An owner to copy from; a holder counts as used just now."""
        donor = next(iter(node.owners))
        if donor in self._holders:
            self._holders[donor] = self._holders.pop(donor)
        return donor

    def _wake(self, holder: Sequence) -> None:
        self._live[holder.id] = self._holders.pop(holder.id)
        holder.live = True
        for step in holder.node.path():
            self._tree.add_live(step, 1)

    # -- growth ---------------------------------------------------------------------------------

    def grow(self, place: Place, count: int = 1) -> None:
        """Note ``count`` more computed positions in the private tail."""
        place.length += count
        self._tails += count

    def register(self, place: Place, tokens: Tokens) -> list[Operation]:
        """Put a live sequence's tail into the tree so that others can share it.

        Where the tree already has the same tokens, computed by somebody else meanwhile, the
        sequence's own cells are given back and theirs are shared.

        Args:
            tokens: the tokens of at least all computed positions.
        """
        sequence, operations = self._live[place.id], list[Operation]()
        while self.reuse and not sequence.shifted and sequence.registered < sequence.length:
            rest = tokens[sequence.registered : sequence.length]
            child = sequence.node.children.get(int(rest[0]))
            if child is None:
                sequence.node = self._tree.append(sequence.node, rest, sequence.id, sequence.live)
                self._note_registered(sequence, len(rest))
            else:
                operations += self._merge(sequence, child, rest)
        return operations

    def _merge(self, sequence: Sequence, child: Node, rest: Tokens) -> list[Operation]:
        """Exchange the front of the tail for the equal cells of ``child``."""
        same, start = common_length(child.tokens, rest), sequence.registered
        if same < len(child.tokens):
            child = self._tree.split(child, same)
        donor = self._donor(child)
        self._tree.own(child, sequence.id)
        sequence.node = child
        self._note_registered(sequence, same)
        return [
            Remove(sequence.id, start, start + same),
            Copy(donor, sequence.id, start, start + same),
        ]

    def _note_registered(self, sequence: Sequence, count: int) -> None:
        sequence.registered += count
        self._tails -= count

    def shift(self, place: Place, keep: int, discard: int) -> list[Operation] | None:
        """Drop ``discard`` positions after the first ``keep`` and close the gap.

        None when cells behind ``keep`` are shared with another sequence: moving them would move
        the other's too, so the caller has to compute the shortened text again instead.
        """
        sequence = self._live[place.id]
        position = sequence.registered
        for step in sequence.node.path():
            if position > keep and step.owners != {sequence.id}:
                return None
            position -= len(step.tokens)
        self._unregister(sequence, keep)
        end = sequence.length
        sequence.length = end - discard
        sequence.shifted = True
        self._tails -= discard
        return [
            Remove(sequence.id, keep, keep + discard),
            Shift(sequence.id, keep + discard, end, -discard),
        ]

    def _unregister(self, sequence: Sequence, keep: int) -> None:
        """Turn the positions from ``keep`` on, owned by this sequence alone, into its tail."""
        while sequence.registered > keep:
            node = sequence.node
            start = sequence.registered - len(node.tokens)
            if start < keep:
                self._tree.split(node, keep - start)
            self._note_registered(sequence, -len(node.tokens))
            sequence.node = self._tree.detach(node)

    # -- release and eviction -------------------------------------------------------------------

    def release(self, place: Place, tokens: Tokens) -> list[Operation]:
        """End a live sequence; its tokens stay as a holder if that can help anyone.

        Args:
            tokens: the tokens of at least all computed positions.
        """
        sequence, operations = self._live[place.id], self.register(place, tokens)
        self._forecast.remember(sequence.key, tokens[: sequence.registered])
        self._tails -= sequence.length - sequence.registered
        untidy = sequence.length > sequence.registered
        sequence.length, sequence.live = sequence.registered, False
        for step in sequence.node.path():
            self._tree.add_live(step, -1)
        self._holders[sequence.id] = self._live.pop(sequence.id)
        if len(sequence.node.owners) != 1:
            return operations + self._drop(sequence)
        return [*operations, Remove(sequence.id, sequence.length)] if untidy else operations

    def expect(self, key: str, prompt: Tokens) -> None:
        """Learn from a prompt, before its admission, what cached sequences are worth."""
        node, matched = self._tree.match(key, prompt)
        self._forecast.observe(key, prompt, matched - self._tree.idle_on(node, matched))

    def trim(self) -> list[Operation]:
        """Evict cached cells that slow running jobs down more than they promise to save."""
        share = self._forecast.share
        worth = int(share * self.cells) if share >= MIN_SHARE else 0
        operations: list[Operation] = []
        while self._live and self._tree.idle > worth and self._holders:
            operations += self._evict_one()
        return operations

    def make_room(self, need: int) -> list[Operation]:
        """Evict holders, least recently used first, until ``need`` cells are free."""
        operations: list[Operation] = []
        while self.free < need and self._holders:
            operations += self._evict_one()
        return operations

    def drop_holders(self) -> list[Operation]:
        """Forget everything cached."""
        self._evictions += len(self._holders)
        return [
            operation for held in list(self._holders.values()) for operation in self._drop(held)
        ]

    def _evict_one(self, spare: int | None = None) -> list[Operation]:
        victim = next((h for h in self._holders.values() if h.id != spare), None)
        if victim is None:
            return []
        self._evictions += 1
        return self._spill(victim) + self._drop(victim)

    def _spill(self, holder: Sequence) -> list[Operation]:
        """Save a sequence before its eviction, if it is long and prompts are likely to match it."""
        if self._forecast.share < MIN_SHARE:
            return []
        runs = [step.tokens for step in holder.node.path()]
        tokens = np.concatenate(runs[::-1])
        wanted = self._states.wants(holder.key, tokens)
        return [Save(holder.id, holder.key, tokens)] if wanted else []

    def _drop(self, holder: Sequence) -> list[Operation]:
        del self._holders[holder.id]
        self._tree.disown(holder.node, holder.id)
        self._free_ids.append(holder.id)
        return [Remove(holder.id)]

    def check(self) -> None:
        """Verify that the counters, the tree and the sequences tell the same story."""
        nodes = list(self._tree.nodes())
        known = self._live | self._holders
        assert self._tree.cells == sum(len(node.tokens) for node in nodes)
        assert self._tree.idle == sum(len(node.tokens) for node in nodes if not node.live)
        assert self._tails == sum(s.length - s.registered for s in known.values())
        assert 0 <= self.used <= self.cells
        for node in nodes:
            assert node.owners, "a node without owners keeps cells for nobody"
            assert node.live == len(node.owners & self._live.keys())
        for sequence in known.values():
            assert sequence.registered == sequence.node.depth
            assert all(sequence.id in step.owners for step in sequence.node.path())
            assert sequence.live == (sequence.id in self._live)
        assert sorted([*self._free_ids, *known]) == list(range(self._ids))
