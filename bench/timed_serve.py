"""`trillama serve` with a stopwatch at the door to llama.cpp: where does a step's time go?

    python -m bench.timed_serve TIMES.json

Counts as llama.cpp's what `decode` takes and what `logits` waits for; the rest of the time from
the end of one step to the end of the next is ours: sampling, book-keeping, delivery, waiting for
the interpreter. What the event loop computes for the answers goes on beside the decode, so its
processor time is noted apart. Written when the server ends.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from trillama.batching import Batcher
from trillama.cli import main as trillama
from trillama.engine.choose import Chooser
from trillama.engine.context import LlamaContext

COLUMNS = ("outputs", "prompt", "decode", "logits", "step", "period", "choose", "loop")


class Stopwatch:
    """Collects a row of COLUMNS for each step, times in ns.

    The period reaches from the end of the step before, and so does the processor time of the event
    loop; both are 0 after a pause.
    """

    def __init__(self) -> None:
        self.steps: list[list[int]] = []
        self._decode = self._logits = self._choose = self._ended = self._loop = 0
        self._loop_clock = 0
        self._rows = self._outputs = 0

    def install(self) -> None:
        """Put the stopwatch around the methods; called on the thread of the event loop."""
        decode, logits, step = LlamaContext.decode, LlamaContext.logits, Batcher.step
        choose = Chooser.choose
        self._loop_clock = time.pthread_getcpuclockid(threading.get_ident())

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

        def timed_choose(chooser: Chooser, logits: Any, rows: Any) -> Any:
            begin = time.perf_counter_ns()
            choice = choose(chooser, logits, rows)
            self._choose += time.perf_counter_ns() - begin
            return choice

        def timed_step(batcher: Batcher, report: Any = None) -> Any:
            self._decode = self._logits = self._choose = 0
            begin = time.perf_counter_ns()
            events = step(batcher, report)
            self._note(begin, time.perf_counter_ns())
            return events

        LlamaContext.decode = timed_decode  # type: ignore[method-assign,assignment]
        LlamaContext.logits = timed_logits  # type: ignore[method-assign,assignment]
        Chooser.choose = timed_choose  # type: ignore[method-assign]
        Batcher.step = timed_step  # type: ignore[method-assign,assignment]

    def _note(self, begin: int, end: int) -> None:
        if not self._decode:
            self._ended = 0
            return
        before, self._loop = self._loop, time.clock_gettime_ns(self._loop_clock)
        period, loop = (end - self._ended, self._loop - before) if self._ended else (0, 0)
        prompt = self._rows - self._outputs
        times = [self._decode, self._logits, end - begin, period, self._choose, loop]
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
