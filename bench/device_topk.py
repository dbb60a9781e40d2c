"""What top-k in the graph of a decode saves: a few candidates fetched in place of whole rows.

    python -m bench.device_topk MODEL --rows 64

Two contexts on one model take the same steps in turns. The one fetches whole rows of logits and
chooses among them, as trillama does; the other has a sampler with the best `K` attached to each
sequence, fetches those and chooses among them. Tokens must be the same. Prints one JSON line.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import numpy.typing as npt

from trillama.base.options import Options
from trillama.engine.base import Batch, Context, ContextParams, DecodeStatus, LoadParams, Model
from trillama.engine.library import lib
from trillama.engine.llama import LlamaBackend
from trillama.engine.sampling import RowSampler, sample_rows

K = 64
STEPS = 20
WARM = 4

Tokens = npt.NDArray[np.int32]


def open_context(model: Model, rows: int) -> Any:
    """Room for `rows` sequences, each with cells of its own."""
    cells = 256 * rows
    return model.open_context(
        ContextParams(cells=cells, sequences=rows, outputs=rows, unified=False)
    )


def attach(context: Any, rows: int) -> list[Any]:
    """Have each sequence's best `K` found in the graph; samplers to be freed after the context."""
    samplers = []
    for sequence in range(rows):
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        samplers.append(chain)
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(K))
        if not lib.llama_set_sampler(context._pointer, sequence, chain):
            raise RuntimeError("this library cannot find the best in the graph")
    return samplers


def choose_among_all(context: Context, samplers: list[RowSampler]) -> Tokens:
    """Tokens out of whole rows."""
    return sample_rows(context.logits(), samplers)


def choose_among_few(context: Any, samplers: list[RowSampler]) -> Tokens:
    """Tokens out of the candidates of each row."""
    pointer, rows = context._pointer, len(samplers)
    lib.llama_synchronize(pointer)
    ids, values = np.empty((rows, K), np.int32), np.empty((rows, K), np.float32)
    for row in range(rows):
        found = lib.llama_get_sampled_candidates_count_ith(pointer, row)
        if found != K:
            raise RuntimeError(f"{found} candidates in row {row}, not {K}")
        there = lib.llama_get_sampled_candidates_ith(pointer, row)
        ids[row] = np.ctypeslib.as_array(there, (K,))
        values[row] = np.ctypeslib.as_array(lib.llama_get_sampled_logits_ith(pointer, row), (K,))
    chosen: Tokens = ids[np.arange(rows), sample_rows(values, samplers)]
    return chosen


def timed_step(
    context: Context, batch: Batch, choose: Callable[[], Tokens]
) -> tuple[float, Tokens]:
    """Milliseconds of a decode with its choice, and what was chosen."""
    begin = time.perf_counter()
    if context.decode(batch) is not DecodeStatus.OK:
        raise RuntimeError("a decode failed")
    tokens = choose()
    return (time.perf_counter() - begin) * 1e3, tokens


def compare(model: Model, rows: int) -> dict[str, Any]:
    """Medians of both ways, and the share of tokens they agree on."""
    contexts = [open_context(model, rows), open_context(model, rows)]
    chains = attach(contexts[1], rows)
    options, none, size = (
        Options(temperature=0.8, top_k=40),
        np.empty(0, np.int32),
        model.vocabulary.size,
    )
    samplers = [
        [RowSampler(options, none, size, entropy=row) for row in range(rows)] for _ in contexts
    ]
    ways = choose_among_all, choose_among_few
    batches = [context.new_batch() for context in contexts]
    tokens, times, same = np.arange(rows, dtype=np.int32) + 300, ([], []), []
    for position in range(STEPS):
        chosen = []
        for at, (context, batch) in enumerate(zip(contexts, batches, strict=True)):
            batch.clear()
            batch.add_heads(tokens.tolist(), [position] * rows, list(range(rows)))
            choose = functools.partial(ways[at], context, samplers[at])
            took, picked = timed_step(context, batch, choose)
            times[at].append(took)
            chosen.append(picked)
        same.append(float((chosen[0] == chosen[1]).mean()))
        tokens = chosen[0]
    for context in contexts:
        context.close()
    for chain in chains:
        lib.llama_sampler_free(chain)
    whole, few = (statistics.median(some[WARM:]) for some in times)
    return {"rows": rows, "k": K, "whole_ms": whole, "few_ms": few, "same": min(same)}


@click.command(help=__doc__)
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rows", default=64, show_default=True)
def main(model: Path, rows: int) -> None:
    loaded = LlamaBackend().load(str(model), LoadParams())
    print(msgspec.json.encode(compare(loaded, rows)).decode())
    loaded.close()


if __name__ == "__main__":
    main()
