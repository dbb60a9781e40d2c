"""What ranking rows on the device saves: a few candidates fetched in place of whole rows.

    python -m bench.ranks MODEL --rows 64

Two contexts on one model take the same steps in turns, and choose with the default options as the
step loop does. One fetches whole rows of logits, the other the best of each row, ranked in the
graph (`trillama/engine/graph_ranks.py`). Tokens must be the same. Prints one JSON line.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from bench.sampling import stream
from trillama.base.options import Options
from trillama.engine.base import ContextParams, DecodeStatus, LoadParams
from trillama.engine.choose import Chooser
from trillama.engine.llama import LlamaBackend, LlamaContext, LlamaModel

STEPS = 24
WARM = 4


class Way:
    """A context with cells of its own for each sequence, and who chooses for it."""

    def __init__(self, model: LlamaModel, rows: int, *, ranked: bool) -> None:
        cells = 256 * rows
        params = ContextParams(cells=cells, sequences=rows, outputs=rows, unified=False)
        self.context: LlamaContext = model.open_context(params)
        self.ranked = ranked
        if ranked and not self.context.limits.ranks:
            self.context.rank_in_graph(anywhere=True)
        self.batch = self.context.new_batch()
        self.chooser = Chooser(self.context.limits.sampling_threads)
        self.rows = [stream(row, Options(), model.vocabulary.size) for row in range(rows)]
        self.times: list[tuple[float, float]] = []

    def step(self, tokens: list[int], position: int) -> list[int]:
        """Decode one token of each sequence and choose the next ones; notes what both took."""
        self.batch.clear()
        count = len(tokens)
        self.batch.add_heads(tokens, [position] * count, list(range(count)))
        begin = time.perf_counter()
        if self.context.decode(self.batch) is not DecodeStatus.OK:
            raise RuntimeError("a decode failed")
        found = (self.context.ranked() if self.ranked else None) or self.context.logits()
        there = time.perf_counter()
        chosen = self.chooser.choose(found, self.rows).tokens
        self.times.append((there - begin, time.perf_counter() - there))
        return chosen

    def medians(self) -> dict[str, float]:
        """Milliseconds of a decode and of a choice."""
        decode, choice = (
            1e3 * statistics.median(some) for some in zip(*self.times[WARM:], strict=True)
        )
        return {"decode_ms": decode, "choice_ms": choice}


def compare(model: LlamaModel, rows: int) -> dict[str, Any]:
    """Medians of both ways, and the smallest share of tokens they agree on in a step."""
    whole, few = (Way(model, rows, ranked=ranked) for ranked in (False, True))
    tokens, same = list(range(300, 300 + rows)), []
    for position in range(STEPS):
        chosen = [way.step(tokens, position) for way in (whole, few)]
        same.append(sum(a == b for a, b in zip(*chosen, strict=True)) / rows)
        tokens = chosen[0]
    for way in (whole, few):
        way.chooser.close()
        way.context.close()
    return {"rows": rows, "whole": whole.medians(), "ranked": few.medians(), "same": min(same)}


@click.command(help=__doc__)
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rows", default=64, show_default=True)
def main(model: Path, rows: int) -> None:
    loaded = LlamaBackend().load(str(model), LoadParams())
    print(msgspec.json.encode(compare(loaded, rows)).decode())
    loaded.close()


if __name__ == "__main__":
    main()
