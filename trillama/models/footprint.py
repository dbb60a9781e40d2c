"""From a GGUF header to what the model takes of memory; see ``base/memory.py``. Pure."""

from __future__ import annotations

import re
from collections import defaultdict

from trillama.base.memory import Footprint

from .gguf import GgufArray, GgufFile, TensorInfo

_BLOCK = re.compile(r"blk\.(\d{1,5})\.")
STATE_BYTES = 4
"""Of an element: states are always F32."""


def footprint(file: GgufFile) -> Footprint:
    """What the model in ``file`` takes; the header must have been read with its short arrays."""
    reader = _Header(file)
    layers = reader.blocks()
    count = len(layers)
    heads = reader.number("attention.head_count")
    keys, values = reader.cell(count)
    state = tuple(
        0 if any(kv) else reader.state(at) for at, kv in enumerate(zip(keys, values, strict=True))
    )
    table = reader.size("token_embd.weight")
    return Footprint(
        layers=layers,
        table=table,
        output=sum(tensor.size for tensor in file.tensors) - sum(layers) - table,
        keys=keys,
        values=values,
        state=state if any(state) or not any(keys) else (0,) * count,
        width=reader.width,
        vocabulary=reader.vocabulary(),
        heads=heads,
        active=4 * reader.width + reader.hidden(),
        attending=4 * reader.width + 2 * heads * reader.head("key"),
        masks=2 if reader.number("attention.sliding_window") else 1,
        tied="output.weight" not in reader.tensors,
    )


class _Header:
    """Reads hyper-parameters; what a stranger's header lacks or garbles counts as 0."""

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        self.tensors: dict[str, TensorInfo] = {one.name: one for one in file.tensors}
        self.width = self.number("embedding_length")

    def number(self, name: str, at: int = 0) -> int:
        """A whole number; of a list of one for each block, that of block ``at``."""
        value = self._file.hyper(name)
        if isinstance(value, GgufArray):
            found = (value.values or [0])[at : at + 1] or [0]
            value = found[0] if isinstance(found[0], int) else 0
        whole = isinstance(value, int) and not isinstance(value, bool)
        return max(0, value) if whole else 0  # type: ignore[type-var,return-value]

    def size(self, name: str) -> int:
        """Bytes of a tensor; 0 where there is none."""
        return self.tensors[name].size if name in self.tensors else 0

    def blocks(self) -> tuple[int, ...]:
        """Bytes of each block."""
        sizes: defaultdict[int, int] = defaultdict(int)
        for tensor in self._file.tensors:
            if found := _BLOCK.match(tensor.name):
                sizes[int(found[1])] += tensor.size
        return tuple(sizes[at] for at in sorted(sizes))

    def head(self, of: str) -> int:
        """Elements of a head's keys or values."""
        heads = self.number("attention.head_count")
        return self.number(f"attention.{of}_length") or (self.width // heads if heads else 0)

    def cell(self, count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Elements of keys and values in each block."""
        if self._file.hyper("attention.causal") is False:
            return (0,) * count, (0,) * count
        each = self._file.hyper("attention.head_count_kv")
        several = isinstance(each, GgufArray)
        heads = [
            self.number("attention.head_count_kv", at)
            or (0 if several else self.number("attention.head_count"))
            for at in range(count)
        ]
        latent = bool(self.number("attention.key_length_mla"))  # values are a part of the keys
        keys = tuple(one * self.head("key") for one in heads)
        values = tuple(0 if latent else one * self.head("value") for one in heads)
        return keys, values

    def state(self, at: int) -> int:
        """Bytes of one sequence's state in block ``at``."""
        inner, size = self.number("ssm.inner_size"), self.number("ssm.state_size")
        window = max(0, self.number("ssm.conv_kernel") - 1)
        elements = window * (inner + 2 * self.number("ssm.group_count") * size) + inner * size
        elements += max(0, self.number("shortconv.l_cache") - 1) * self.width
        head = self.number("wkv.head_size")
        elements += (2 + head) * self.width if head else 0
        return STATE_BYTES * elements

    def hidden(self) -> int:
        """Elements of a row inside the feed-forward network, or the state space."""
        gated = 3 if any(".ffn_gate" in name for name in self.tensors) else 1
        used = self.number("expert_used_count")
        experts = used * self.number("expert_feed_forward_length")
        dense = 0 if used else max(self.number("feed_forward_length", at) for at in range(2))
        return max(gated * max(dense, experts), 8 * self.number("ssm.inner_size"))

    def vocabulary(self) -> int:
        """Number of tokens, by the rows of the table."""
        table = self.tensors.get("token_embd.weight")
        return table.shape[1] if table is not None and len(table.shape) > 1 else 0
