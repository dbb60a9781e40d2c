"""What a model takes of memory, by what its header says. Pure.

Facts about llama.cpp 0.3.36's allocations, checked against its own figures by a test: keys and
values of every layer that attends, whole also where a window slides; one state for each sequence
where layers remember by a state; and a buffer for computing, as large as the widest moment of a
graph: the feed-forward network or attention beside the mask, or the logits.
"""

from __future__ import annotations

import msgspec

ELEMENT_BYTES = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "": 2.0,
    "q8_0": 34 / 32,
    "q4_0": 18 / 32,
    "q4_1": 20 / 32,
    "iq4_nl": 18 / 32,
    "q5_0": 22 / 32,
    "q5_1": 24 / 32,
}
"""Bytes of one element of a KV cache."""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """How a context is to be opened; the fields are those of ``engine.base.ContextParams``.

    Attributes:
        cells: of all pools together; ``seen`` of them lie before a row at most.
    """

    cells: int
    seen: int
    sequences: int
    micro_batch: int
    outputs: int
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    flash_attention: bool = True


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that were really allocated; both 0 where the library does not tell."""

    host: int = 0
    gpu: int = 0

    def __add__(self, other: Taken) -> Taken:
        return Taken(host=self.host + other.host, gpu=self.gpu + other.gpu)

    @property
    def total(self) -> int:
        """Of both kinds together."""
        return self.host + self.gpu


NOTHING = Taken()


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, elements in numbers of floats.

    Attributes:
        layers: weights of each block, first to last.
        table: the token table, which stays in the memory of the host.
        output: the matrix of logits and whatever belongs to no block.
        keys, values: elements of one cell in each block; 0 where it remembers by a state.
        state: of one sequence in each block.
        width, vocabulary: of the embedding, and number of tokens.
        heads: of attention.
        active: elements of a row while a block computes, at its widest.
        attending: elements of a row while it attends, scores apart.
        masks: kinds of masks; a model with sliding windows has two.
        tied: the matrix of logits is the token table.
        surplus: what was found to be taken beyond all this, or less, when it was loaded before.
    """

    layers: tuple[int, ...]
    table: int
    output: int
    keys: tuple[int, ...]
    values: tuple[int, ...]
    state: tuple[int, ...]
    width: int
    vocabulary: int
    heads: int
    active: int
    attending: int
    masks: int = 1
    tied: bool = False
    surplus: int = 0

    @property
    def weights(self) -> int:
        """All of them."""
        return sum(self.layers) + self.table + self.output

    def beside(self, other: Footprint) -> Footprint:
        """Both models, as if the blocks of ``other`` followed; that is as near as it need be."""
        return msgspec.structs.replace(
            self,
            layers=self.layers + other.layers,
            table=self.table + other.table,
            output=self.output + other.output,
            keys=self.keys + other.keys,
            values=self.values + other.values,
            state=self.state + other.state,
        )

    def adapted(self, size: int) -> Footprint:
        """With LoRA adapters of so many bytes, which lie where the weights do that they change."""
        whole = max(1, sum(self.layers))
        layers = tuple(one + size * one // whole for one in self.layers)
        return msgspec.structs.replace(self, layers=layers)

    def cache(self, use: Use) -> tuple[int, ...]:
        """What each block remembers."""
        k, v = ELEMENT_BYTES[use.cache_type_k], ELEMENT_BYTES[use.cache_type_v]
        return tuple(
            int(use.cells * (keys * k + values * v)) + use.sequences * state
            for keys, values, state in zip(self.keys, self.values, self.state, strict=True)
        )

    def compute(self, use: Use) -> int:
        """The buffer for a graph, and the one that logits are copied into."""
        rows, logits = use.micro_batch, 4 * use.outputs * self.vocabulary
        mask = rows * use.seen * self.masks * any(self.keys)
        if use.flash_attention:
            widest = 4 * rows * max(self.active, self.attending) + 2 * mask
        else:
            scores = 4 * rows * use.seen * self.heads * any(self.keys)
            attending = 4 * rows * self.attending + scores + 4 * mask
            widest = max(4 * rows * self.active + 4 * mask, attending)
        computing = max(widest, logits + 8 * rows * self.width) + logits
        return max(0, computing + self.surplus)

    def total(self, use: Use) -> int:
        """Everything."""
        return self.weights + sum(self.cache(use)) + self.compute(use)
