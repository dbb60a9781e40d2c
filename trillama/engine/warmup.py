"""The first decode of a new context, made before anybody waits for one.

It pages the weights in, has a GPU load its kernels, and shows a model that computes nonsense
while there is still somebody to tell.
"""

from __future__ import annotations

import time

import numpy as np

from trillama.base.errors import EngineError

from .base import Context, DecodeStatus


def warm_up(context: Context, rows: int = 2) -> int:
    """Decode one row, then ``rows`` rows, and forget them again.

    The context must be empty. Costs about two tokens' time.

    Returns:
        nanoseconds of the last decode: what a token takes once all is there.

    Raises:
        EngineError: a decode failed, or the logits are not finite.
    """
    vocabulary, limits = context.vocabulary, context.limits
    token = vocabulary.bos if 0 <= vocabulary.bos < vocabulary.size else 0
    batch, taken = context.new_batch(), 0
    for count in sorted({1, max(1, min(rows, limits.sequences, limits.outputs, limits.batch))}):
        batch.clear()
        batch.add_heads([token] * count, [0] * count, list(range(count)))
        begun = time.monotonic_ns()
        status = context.decode(batch)
        if status is not DecodeStatus.OK:
            raise EngineError(f"the warm-up decode failed: {status.name}")
        if not np.isfinite(context.logits().max(axis=1)).all():
            raise EngineError("the model computes logits that are not finite")
        taken = time.monotonic_ns() - begun
        context.clear()
    return taken
