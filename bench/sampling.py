"""What does choosing the tokens of a step cost? All rows together, next to llama.cpp row by row.

    python -m bench.sampling --rows 64 --vocab 128000

Both look at the logits of the same decode with the default options: ours through `Chooser`, as the
step loop does it, with as many threads as there are cores; the rival calls `llama_sampler_sample`
for one row after the other, as llama-server does, with the same samplers in its chain.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from bench import machine
from bench.make_model import ModelShape, write_model
from bench.report import RESULTS
from bench.stats import median, ratio
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.engine.base import Chain, Context, ContextParams, DecodeStatus, LoadParams
from trillama.engine.chains import LlamaChain
from trillama.engine.choose import Chooser
from trillama.engine.context import LlamaContext
from trillama.engine.library import lib
from trillama.engine.llama import LlamaBackend
from trillama.engine.sampling import RowSampler


@dataclass(eq=False)
class Row:
    """What the chooser needs to know of a stream."""

    job: Job
    sampler: RowSampler
    chain: Chain | None = None


def stream(row: int, options: Options, n_vocab: int) -> Row:
    """One that begins with a token of its own and has random numbers of its own."""
    prompt = np.array([100 + row], np.int32)
    job = Job(id=str(row), prompt=prompt, options=options, limit=64)
    return Row(job, RowSampler(options, prompt, n_vocab, entropy=row))


class Answer(msgspec.Struct):
    """Milliseconds of each repeat, in pairs, for all rows of a step."""

    rows: int
    vocab: int
    threads: int
    ours: list[float]
    theirs: list[float]

    @property
    def share(self) -> float:
        """Our time as a part of theirs."""
        return ratio(self.ours, self.theirs)


@contextmanager
def decoded(path: Path, rows: int) -> Iterator[LlamaContext]:
    """A context that has just decoded one token of `rows` sequences."""
    model = LlamaBackend().load(str(path), LoadParams(), lambda _: True)
    context = model.open_context(
        ContextParams(cells=8 * rows, sequences=rows, batch=rows, micro_batch=rows, outputs=rows)
    )
    try:
        assert isinstance(context, LlamaContext)
        decode_once(context, rows)
        yield context
    finally:
        context.close()
        model.close()


def decode_once(context: Context, rows: int) -> None:
    batch = context.new_batch()
    for row in range(rows):
        batch.add_run(row, 0, np.array([100 + row], np.int32))
        batch.want_last()
    status = context.decode(batch)
    if status is not DecodeStatus.OK:
        raise RuntimeError(f"the decode ended with {status.name.lower()}")


def our_way(context: LlamaContext, options: Options, rows: int, threads: int) -> Callable[[], Any]:
    """All rows by the chooser."""
    chooser, size = Chooser(threads), context.vocabulary.size
    streams = [stream(row, options, size) for row in range(rows)]

    def choose() -> None:
        tokens = chooser.choose(context.logits(), streams).tokens
        for stream, token in zip(streams, tokens, strict=True):
            stream.sampler.accept(token)

    return choose


def their_way(context: LlamaContext, options: Options, rows: int) -> Callable[[], Any]:
    """One row after the other by the library; it accepts the token itself."""
    size = context.vocabulary.size
    chains = [LlamaChain(options, np.empty(0, np.int32), size, 64) for _ in range(rows)]
    samplers, pointer = [chain._chain for chain in chains], context._pointer

    def choose() -> list[Any]:
        return [lib.llama_sampler_sample(at, pointer, row) for row, at in enumerate(samplers)]

    choose.chains = chains  # type: ignore[attr-defined]  # they free the samplers when they go
    return choose


def milliseconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begin)


def compare(path: Path, rows: int, repeats: int, threads: int) -> Answer:
    """Both ways in turns, after one of each that does not count."""
    options = Options()
    with decoded(path, rows) as context:
        ours = our_way(context, options, rows, threads)
        theirs = their_way(context, options, rows)
        ours(), theirs()
        pairs = [(milliseconds(ours), milliseconds(theirs)) for _ in range(repeats)]
        size = context.vocabulary.size
    return Answer(rows, size, threads, [a for a, _ in pairs], [b for _, b in pairs])


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--rows", default=64, show_default=True)
@click.option("--vocab", default=128_000, show_default=True)
@click.option("--repeats", default=20, show_default=True)
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(rows: int, vocab: int, repeats: int, threads: int) -> None:
    machine.warn_if_busy()
    with tempfile.TemporaryDirectory(prefix="trillama-bench-") as folder:
        path = Path(folder) / "wide.gguf"
        write_model(path, ModelShape(1, 64, 64, 2, 2, vocab, 2048), "Q8_0", seed=0)
        answer = compare(path, rows, repeats, threads)
    print(f"{answer.rows} rows of {answer.vocab} logits, {answer.threads} threads")
    print(f"  ours   {median(answer.ours):8.2f} ms")
    print(f"  theirs {median(answer.theirs):8.2f} ms")
    print(f"  share  {answer.share:8.3f}")
    RESULTS.mkdir(exist_ok=True)
    result = {"facts": machine.describe(), "answer": answer, "share": answer.share}
    (RESULTS / "sampling.json").write_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
