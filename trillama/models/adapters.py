"""Whether a LoRA adapter fits weights, told from both headers before llama.cpp sees the adapter.

llama.cpp checks the first two dimensions of each pair and answers with an error
(src/llama-adapter.cpp); experts, element types and ranks it finds out while it computes, where an
assertion ends the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import structlog

from trillama.base.errors import BadRequest

from .gguf import GgufArray, GgufFile, TensorInfo, read_gguf

DOWN, UP = ".lora_a", ".lora_b"
EMBEDDINGS = "token_embd.weight"
"""Its rows are looked up, not multiplied, so that its adapter stands the other way round."""
OUTPUT = "output.weight"
NORM = "_norm.weight"
"""Whole vectors that some adapters bring along; llama.cpp passes over them."""
NUMBERS = frozenset(["F32", "F16", "BF16", "Q8_0"])
"""Element types that an adapter may have."""
FOUR_BITS = "NVFP4"
"""Weights of this type have scales of their own, which llama.cpp cannot combine with adapters."""
MAX_RANK = 1 << 14

log = structlog.get_logger(__name__)


class DoesNotFit(BadRequest):
    """An adapter and a model that do not belong together; the message says why."""

    code = "adapter_does_not_fit"

    def __init__(self, why: str) -> None:
        super().__init__(f"the adapter does not fit the model: {why}")


def check_adapter(adapter: GgufFile, weights: GgufFile) -> None:
    """See that ``adapter`` can be applied to ``weights``.

    Raises:
        DoesNotFit: it cannot; the message names the first reason.
    """
    _check_kind(adapter, weights)
    theirs = {tensor.name: tensor for tensor in weights.tensors}
    if OUTPUT not in theirs:  # the embeddings are multiplied, too: one shape cannot do for both
        theirs.pop(EMBEDDINGS, None)
    found = 0
    for name, down, up in _pairs(adapter):
        if name not in theirs:
            raise DoesNotFit(f"the model has no weights {name!r} that could be changed")
        _check_pair(theirs[name], down, up)
        found += 1
    if not found:
        raise DoesNotFit("it holds no weights")


def _check_kind(adapter: GgufFile, weights: GgufFile) -> None:
    kind = adapter.text("general.type"), adapter.text("adapter.type")
    if kind != ("adapter", "lora"):
        raise DoesNotFit(f"it is no LoRA adapter, but {'/'.join(filter(None, kind)) or 'a model'}")
    if adapter.architecture != weights.architecture:
        raise DoesNotFit(f"it is for {adapter.architecture!r}, not {weights.architecture!r}")
    alpha = adapter.metadata.get("adapter.lora.alpha", 0.0)
    if not isinstance(alpha, float) or not abs(alpha) < 1e6:
        raise DoesNotFit("its adapter.lora.alpha is no sound number")
    invocation = adapter.metadata.get("adapter.alora.invocation_tokens")
    if invocation is not None and not (isinstance(invocation, GgufArray) and not invocation.count):
        raise DoesNotFit("it is to be activated by certain tokens, which is not supported")


def _pairs(adapter: GgufFile) -> Iterator[tuple[str, TensorInfo, TensorInfo]]:
    """The weights that are changed, each with its two factors."""
    mine = {one.name: one for one in adapter.tensors if not one.name.endswith(NORM)}
    if len(mine) < len(adapter.tensors):
        log.warning("norms of an adapter have no effect", count=len(adapter.tensors) - len(mine))
    for name, tensor in mine.items():
        stem = name.removesuffix(DOWN).removesuffix(UP)
        if stem == name:
            raise DoesNotFit(f"its tensor {name!r} is no factor of a LoRA")
        if tensor.type.name not in NUMBERS:
            raise DoesNotFit(f"its tensor {name!r} is of type {tensor.type.name}")
        if stem + DOWN not in mine or stem + UP not in mine:
            raise DoesNotFit(f"its tensor {name!r} lacks the other factor")
        if name == stem + DOWN:
            yield stem, tensor, mine[stem + UP]


def _check_pair(target: TensorInfo, down: TensorInfo, up: TensorInfo) -> None:
    """Shapes in ggml's order: columns, rows, experts."""
    columns, rows, *experts = target.shape if len(target.shape) > 1 else (*target.shape, 1)
    rank = up.shape[0] if up.shape else 0
    factors = (columns, rank, *experts), (rank, rows, *experts)
    if target.name == EMBEDDINGS:
        factors = (rank, rows), (rank, columns)
    found = _trimmed(down.shape), _trimmed(up.shape)
    if not 0 < rank <= MAX_RANK or found != tuple(map(_trimmed, factors)):
        shapes = f"{list(down.shape)} and {list(up.shape)}"
        raise DoesNotFit(f"factors {shapes} for {target.name!r} of {list(target.shape)}")
    if target.type.name == FOUR_BITS:
        raise DoesNotFit(f"{target.name!r} is of type {FOUR_BITS}, which takes no adapter")


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the ones at its end, which mean nothing."""
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


class AdapterChecks:
    """Remembers which adapters fit which weights; files of the store do not change."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[Path, Path], int] = {}
        self._lock = threading.Lock()

    def known(self, adapter: Path, weights: Path) -> bool:
        """Whether an adapter was found to fit before."""
        with self._lock:
            return (adapter, weights) in self._sizes

    def size(self, adapter: Path, weights: Path) -> int:
        """Bytes of an adapter that was found to fit."""
        with self._lock:
            return self._sizes[adapter, weights]

    def require(self, adapter: Path, weights: Path) -> None:
        """See that an adapter fits; reads both headers at the first time.

        Raises:
            DoesNotFit: it does not.
            CorruptModel: one of the files is damaged.
            NotFound: one of them is missing.
        """
        if self.known(adapter, weights):
            return
        check_adapter(read_gguf(adapter, keep_arrays=0), read_gguf(weights, keep_arrays=0))
        size = adapter.stat().st_size
        with self._lock:
            self._sizes[adapter, weights] = size
