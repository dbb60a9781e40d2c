"""The stages after unpacking: models, smoke, tables. Started by `bench.gpu` with paths set."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import machine
from bench.gpu import nvidia
from bench.gpu.measures import Tools
from bench.gpu.plan import GPU_SIZES, TOY_SIZES, Models, Plan
from bench.gpu.results import Ledger
from bench.gpu.tables import format_tables

MOST_THREADS = 8
"""For the CPU's part of the work, which is small when the layers are on a GPU."""
STAGES = ("models", "smoke", "tables")


def make_models(ledger: Ledger, models: dict[str, Path]) -> None:
    """Write each model that is not there."""
    for shape, path in models.items():
        if not path.exists():
            command = [sys.executable, "-m", "bench.gpu.models", "--shape", shape, "--out", path]
            ledger.record.entries.pop(f"model.{shape}", None)
            ledger.take(f"model.{shape}", 30, lambda command=command: run(command, 120))  # type: ignore[misc]


def smoke(ledger: Ledger, models: dict[str, Path]) -> None:
    """Does our engine see the devices and decode on them?"""
    trillama = [sys.executable, "-m", "trillama", "doctor"]
    ledger.take("doctor", 30, lambda: run(trillama, 60))
    for shape, path in models.items():
        probe = [sys.executable, "-m", "trillama.engine.probe", str(path)]
        ledger.take(f"probe.{shape}", 30, lambda probe=probe: run(probe, 60))  # type: ignore[misc]


def run(command: Sequence[Any], limit: float) -> str:
    """What a program prints. Raises RuntimeError with it when the program fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=limit)
    if done.returncode:
        raise RuntimeError(f"status {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    return done.stdout.strip()


def take_tables(ledger: Ledger, plan: Plan, only: str) -> None:
    """Every measurement whose name begins with one of `only`, or all."""
    begins = tuple(filter(None, only.split(",")))
    for one in plan.measurements():
        if not begins or one.name.startswith(begins):
            ledger.take(one.name, one.estimate, one.take)


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.gpu.stages")
    parser.add_argument("--binaries", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--only", default="")
    parser.add_argument("--shape", default="8b,1b")
    parser.add_argument(
        "--weights", default="8b-q4,8b-f16", help="the large one in others; or none"
    )
    parser.add_argument("--while", dest="beside", default="")
    return parser.parse_args(arguments)


def begin_beside(command: str) -> subprocess.Popen[bytes] | None:
    """Start the command that shares the machine while models are made, if there is one."""
    return subprocess.Popen(shlex.split(command)) if command else None


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(sys.argv[1:] if arguments is None else arguments)
    deadline = time.monotonic() + 60 * options.minutes
    ledger = Ledger(options.work / "gpu.json", deadline, options.out / "gpu.json")
    stages = options.stages.split(",")
    shapes = options.shape.split(",")
    toy = "toy" in shapes
    others = [] if toy else list(filter(None, options.weights.split(",")))
    files = {shape: options.work / f"{shape}.gguf" for shape in [*shapes, *others]}
    sizes = TOY_SIZES if toy else GPU_SIZES
    tools = Tools(options.binaries, min(MOST_THREADS, os.cpu_count() or 1))
    ledger.note_facts(**machine.describe(), gpu=nvidia.describe())
    ledger.note_facts(shapes=shapes, crowd=sizes.crowd, stages=options.stages, only=options.only)
    beside = begin_beside(options.beside)
    if "models" in stages:
        make_models(ledger, files)
    if "smoke" in stages:
        smoke(ledger, files)
    if beside is not None:
        print(f"beside: status {beside.wait()}")
    if "tables" in stages:
        found = {name: files[name] for name in others if files[name].exists()}
        models = Models(files[shapes[0]], files[shapes[-1]], found)
        take_tables(ledger, Plan(models, sizes, tools), options.only)
    print(format_tables(ledger.record))


if __name__ == "__main__":
    main()
