"""`trillama serve` with a stopwatch at the door to llama.cpp: where does a step's time go?

    python -m bench.gpu.timed_serve TIMES.json

Counts as llama.cpp's what `decode` takes and what `logits` waits for; the rest of the time from
the end of one step to the end of the next is ours: sampling, book-keeping, delivery, waiting for
the interpreter. Written when the server ends.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from trillama.batching import Batcher
from trillama.cli import main as trillama
from trillama.engine.context import LlamaContext


class Stopwatch:
    """Collects [generating rows, prompt tokens, decode, logits, step, period] of each step, ns.

    The period reaches from the end of the step before; it is 0 after a pause.
    """

    def __init__(self) -> None:
        self.steps: list[list[int]] = []
        self._decode = self._logits = self._ended = 0
        self._rows = self._outputs = 0

    def install(self) -> None:
        """Put the stopwatch around the three methods."""
        decode, logits, step = LlamaContext.decode, LlamaContext.logits, Batcher.step

        def timed_decode(context: LlamaContext, batch: Any) -> Any:
            begin = time.perf_counter_ns()
            status = decode(context, batch)
            self._decode += time.perf_counter_ns() - begin
            self._rows = batch.size
            self._outputs = int(batch.wants_logits[: batch.size].sum())
            return status

        def timed_logits(context: LlamaContext) -> Any:
            begin = time.perf_counter_ns()
            view = logits(context)
            self._logits += time.perf_counter_ns() - begin
            return view

        def timed_step(batcher: Batcher) -> Any:
            self._decode = self._logits = 0
            begin = time.perf_counter_ns()
            events = step(batcher)
            self._note(begin, time.perf_counter_ns())
            return events

        LlamaContext.decode = timed_decode  # type: ignore[method-assign,assignment]
        LlamaContext.logits = timed_logits  # type: ignore[method-assign,assignment]
        Batcher.step = timed_step  # type: ignore[method-assign,assignment]

    def _note(self, begin: int, end: int) -> None:
        if not self._decode:
            self._ended = 0
            return
        period = end - self._ended if self._ended else 0
        prompt = self._rows - self._outputs
        times = [self._decode, self._logits, end - begin, period]
        self.steps.append([self._outputs, prompt, *times])
        self._ended = end


def main() -> None:
    path, watch = Path(sys.argv[1]), Stopwatch()
    watch.install()
    sys.argv[1:] = ["serve"]
    try:
        trillama()
    finally:
        path.write_bytes(msgspec.json.encode(watch.steps))


if __name__ == "__main__":
    main()
