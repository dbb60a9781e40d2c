"""Short ways to say what a test of a context decodes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trillama.engine.base import Context, DecodeStatus

TOLERANCE = 1e-4
"""Logits of equal tokens differ by less in exact contexts, however batches are cut; one other
token among a hundred moves them by 0.1 and more."""
USUAL_TOLERANCE = 2e-2
"""The same with flash attention and an f16 cache, where a batch's shape chooses the kernel."""


def prompt(length: int, salt: int = 0) -> npt.NDArray[np.int32]:
    """``length`` tokens below 256 that depend on ``salt``."""
    return ((np.arange(length) * 37 + salt * 101 + 5) % 256).astype(np.int32)


def try_prefill(
    context: Context, sequence: int, tokens: npt.NDArray[np.int32], start: int = 0
) -> DecodeStatus:
    """Decode ``tokens`` as a run of one sequence, asking for logits of the last."""
    batch = context.new_batch()
    batch.add_run(sequence, start, tokens)
    batch.want_last()
    return context.decode(batch)


def prefill(
    context: Context, sequence: int, tokens: npt.NDArray[np.int32], start: int = 0
) -> npt.NDArray[np.float32]:
    """Decode a run that must succeed; a copy of its last row of logits."""
    assert try_prefill(context, sequence, tokens, start) is DecodeStatus.OK
    return context.logits()[0].copy()


def step(context: Context, rows: list[tuple[int, int, int]]) -> npt.NDArray[np.float32]:
    """Decode one (token, position, sequence) row each; a copy of their logits."""
    batch = context.new_batch()
    tokens, positions, sequences = (list(column) for column in zip(*rows, strict=True))
    batch.add_heads(tokens, positions, sequences)
    assert context.decode(batch) is DecodeStatus.OK
    return context.logits().copy()


def distance(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """The largest difference of two rows."""
    return float(np.abs(one - other).max())
