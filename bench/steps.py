"""Where does the time of a step go? Everything outside llama.cpp is ours, and should be little.

    python -m bench.steps --streams 64

Our server under `bench.timed_serve`, with as many streams as asked for over HTTP. Only steps count
in which nearly all of them generate and no prompt is read. The model is small, so that our part of
a step weighs as much as it ever will.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import numpy.typing as npt

from bench import machine
from bench.load import Load, measure
from bench.make_model import ModelShape, given_or_made
from bench.report import RESULTS
from bench.servers import Command, Running, Setup, import_model, started, trillama_command
from bench.stats import median
from bench.timed_serve import COLUMNS

Steps = npt.NDArray[np.float64]
NANOSECONDS = 1e6
"""In a millisecond."""


def read_steps(path: Path) -> Steps:
    """What `bench.timed_serve` wrote, shape (steps, len(COLUMNS))."""
    steps = np.array(msgspec.json.decode(path.read_bytes()), dtype=np.float64)
    return steps.reshape(-1, len(COLUMNS))


def full_steps(steps: Steps, streams: int) -> Steps:
    """The steps in which nearly all streams generate and no prompt is read, none after a pause.

    Raises:
        RuntimeError: there is none.
    """
    full = steps[(steps[:, 0] >= 0.9 * streams) & (steps[:, 1] == 0) & (steps[:, 5] > 0)]
    if not len(full):
        raise RuntimeError("no step had all streams in it")
    return full


def share_of_steps(steps: Steps, streams: int) -> dict[str, Any]:
    """Figures of the full steps: medians of their parts, and what share lies outside llama.cpp."""
    full = full_steps(steps, streams)
    _, _, decode, logits, step, period, *_ = full.sum(0)
    names = ("decode_ms", "logits_ms", "step_ms")
    medians = {n: median(full[:, 2 + i].tolist()) / NANOSECONDS for i, n in enumerate(names)}
    outside, between = 1 - (decode + logits) / period, 1 - step / period
    share = {"outside_share": float(outside), "between_share": float(between)}
    mixed = steps[(steps[:, 1] > 0) & (steps[:, 0] > 0)]
    prompt, *spent = np.median(mixed[:, [1, 2, 3, 4]], 0).tolist() if len(mixed) else [0.0] * 4
    beside = dict(zip(("mixed_decode_ms", "mixed_logits_ms", "mixed_step_ms"), spent, strict=True))
    parts = {f"{name}_ms": value for name, value in parts_of_steps(steps, streams).items()}
    counts = {"steps": len(full), "mixed": len(mixed), "mixed_prompt": prompt}
    beside = {name: value / NANOSECONDS for name, value in beside.items()}
    return counts | beside | parts | medians | share


def parts_of_steps(steps: Steps, streams: int) -> dict[str, float]:
    """Medians of full steps in ms.

    `own` is all outside llama.cpp; it consists of `plan` (all before the decode), `sampling`,
    `book` (the rest of the step) and `between` (from a step's end to the next one's begin). `loop`
    is the processor time the event loop takes for the answers, most of it beside the decode.
    """
    names = dict(zip(COLUMNS, full_steps(steps, streams).T, strict=True))
    inside = names["decode"] + names["logits"]
    parts = {
        "period": names["period"],
        "llama": inside,
        "own": names["period"] - inside,
        "sampling": names["choose"],
        "plan": names["plan"],
        "book": names["step"] - inside - names["choose"] - names["plan"],
        "between": names["period"] - names["step"],
        "loop": names["loop"],
    }
    return {name: median(values.tolist()) / NANOSECONDS for name, values in parts.items()}


@contextmanager
def timed_server(setup: Setup, times: Path) -> Iterator[Running]:
    """Our server with the stopwatch, which writes `times` when the block has ended."""
    store = times.with_name("store")
    import_model(setup.model, store)

    def command(port: int) -> Command:
        argv = [sys.executable, "-m", "bench.timed_serve", str(times)]
        return replace(trillama_command(setup, port, store), argv=argv)

    with started(command) as running:
        yield running


def measure_steps(model: Path, load: Load, threads: int) -> Steps:
    """All steps of one load."""
    with tempfile.TemporaryDirectory(prefix="trillama-bench-") as folder:
        times = Path(folder) / "times.json"
        cells = load.clients * (load.whole_prompt + load.new_tokens + 8)
        with timed_server(Setup(model, load.clients, cells, threads), times) as server:
            _, replies = measure(server.target, load)
        errors = sorted({reply.error for reply in replies if reply.error})
        if errors:
            raise RuntimeError(f"requests failed: {errors[:3]}")
        return read_steps(times)


def format_parts(parts: dict[str, float], steps: int) -> str:
    lines = [f"medians of {steps} full steps, ms"]
    return "\n".join([*lines, *(f"  {name:10}{value:8.3f}" for name, value in parts.items())])


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="default: a small one")
@click.option("--vocab", default=4096, show_default=True, help="of the small one")
@click.option("--streams", default=64, show_default=True)
@click.option("--new-tokens", default=200, show_default=True)
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(model: Path | None, vocab: int, streams: int, new_tokens: int, threads: int) -> None:
    machine.warn_if_busy()
    load = Load(streams, 32, new_tokens, streams, seconds=120)
    with given_or_made(model, ModelShape(8, 512, 1408, 8, 4, vocab, 2048), "Q4_0") as path:
        steps = measure_steps(path, load, threads)
    parts = parts_of_steps(steps, streams)
    print(format_parts(parts, len(full_steps(steps, streams))))
    RESULTS.mkdir(exist_ok=True)
    result = {"facts": machine.describe(), "load": msgspec.to_builtins(load), "parts": parts}
    (RESULTS / "steps.json").write_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
