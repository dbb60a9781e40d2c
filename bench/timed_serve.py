"""`trillama serve` with a stopwatch at the door to llama.cpp: where does a step's time go?

    python -m bench.timed_serve TIMES.json

Counts as llama.cpp's what `decode` takes and what `logits` or `ranked` waits for; the rest of the
time from the end of one step to the end of the next is ours: sampling, book-keeping, delivery,
waiting for the interpreter. What the event loop computes for the answers goes on beside the decode,
so its processor time is noted apart. Written when the server ends.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from trillama.batching import Batcher
from trillama.cli import main as trillama
from trillama.engine.choose import Chooser
from trillama.engine.context import LlamaContext
from trillama.seats import Memory

COLUMNS = ("outputs", "prompt", "decode", "logits", "step", "period", "choose", "loop", "plan")


class Stopwatch:
    """Collects a row of COLUMNS for each step, times in ns.

    No fillers are counted. The period reaches from the end of the step before, and so does the
    processor time of the event loop; both are 0 after a pause.
    """

    def __init__(self) -> None:
        self.steps: list[list[int]] = []
        self._decode = self._logits = self._choose = self._ended = self._loop = 0
        self._loop_clock = self._begun = self._plan = 0
        self._outputs = self._prompt = self._fillers = 0

    def install(self) -> None:
        """Put the stopwatch around the methods; called on the thread of the event loop."""
        decode, logits, step = LlamaContext.decode, LlamaContext.logits, Batcher.step
        ranked, choose, fillers = LlamaContext.ranked, Chooser.choose, Memory.fillers
        self._loop_clock = time.pthread_getcpuclockid(threading.get_ident())

        def timed_decode(context: LlamaContext, batch: Any) -> Any:
            begin = time.perf_counter_ns()
            self._plan = self._plan or begin - self._begun
            status = decode(context, batch)
            self._decode += time.perf_counter_ns() - begin
            outputs = int(batch.wants_logits[: batch.size].sum())
            self._outputs += outputs
            self._prompt += batch.size - outputs - self._fillers
            return status

        def counted_fillers(memory: Memory, *args: Any) -> Any:
            found = fillers(memory, *args)
            self._fillers = len(found)
            return found

        def timed_step(batcher: Batcher, report: Any = None) -> Any:
            self._decode = self._logits = self._choose = self._plan = 0
            self._outputs = self._prompt = 0
            self._begun = begin = time.perf_counter_ns()
            events = step(batcher, report)
            self._note(begin, time.perf_counter_ns())
            return events

        LlamaContext.decode = timed_decode  # type: ignore[method-assign,assignment]
        LlamaContext.logits = self._adding("_logits", logits)  # type: ignore[method-assign]
        LlamaContext.ranked = self._adding("_logits", ranked)  # type: ignore[method-assign]
        Chooser.choose = self._adding("_choose", choose)  # type: ignore[method-assign]
        Memory.fillers = counted_fillers  # type: ignore[method-assign]
        Batcher.step = timed_step  # type: ignore[method-assign,assignment]

    def _adding(self, column: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, which adds the time it takes to a column."""

        def timed(*args: Any) -> Any:
            begin = time.perf_counter_ns()
            found = method(*args)
            setattr(self, column, getattr(self, column) + time.perf_counter_ns() - begin)
            return found

        return timed

    def _note(self, begin: int, end: int) -> None:
        if not self._decode:
            self._ended = 0
            return
        before, self._loop = self._loop, time.clock_gettime_ns(self._loop_clock)
        period, loop = (end - self._ended, self._loop - before) if self._ended else (0, 0)
        times = [self._decode, self._logits, end - begin, period, self._choose, loop, self._plan]
        self.steps.append([self._outputs, self._prompt, *times])
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
