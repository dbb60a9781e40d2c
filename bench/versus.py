"""Ours and a rival under the same load, in turns: A B A B ...

    python -m bench.versus --model m.gguf --rival equal --clients 1,8,16
    python -m bench.versus --model m.gguf --shared-prefix 800 --clients 32

Both get the same model file, threads, cells and sampling; every run has a fresh server and prompts
that no server has seen. The ratio is the median over neighbouring runs, so slow drift of the
machine cancels out. `--ours equal --rival equal` shows how much noise is left.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from bench import machine
from bench.load import Load, measure
from bench.report import Comparison, Run, Scenario, format_table, shorten, write
from bench.servers import Setup, open_server, resident_bytes

CELL_PADDING = 256  # llama.cpp rounds the cells of a sequence up to this


@dataclass(frozen=True)
class Plan:
    """What is compared: two servers by name, one load for each number of clients."""

    names: tuple[str, str]
    model: Path
    threads: int
    unified: bool
    pairs: int
    loads: list[Load]

    def setup(self, load: Load) -> Setup:
        """Room for all clients at once, and no more."""
        per_client = load.whole_prompt + load.new_tokens + 1
        padded = -(-per_client // CELL_PADDING) * CELL_PADDING
        context = padded * load.clients
        return Setup(self.model, load.clients, context, self.threads, unified=self.unified)


def run_once(who: str, setup: Setup, load: Load) -> Run:
    """Start a server, load it, stop it."""
    with open_server(who, setup) as server:
        summary, replies = measure(server.target, load)
        return Run(
            summary, shorten(replies), resident_bytes(server.pid, peak=True), server.started_in
        )


def run_scenario(plan: Plan, load: Load) -> Scenario:
    shared = f"{load.shared_prefix}+" if load.shared_prefix else ""
    plural = "s" if load.clients > 1 else ""
    name = f"{load.clients} client{plural}, {shared}{load.prompt_tokens} in, {load.new_tokens} out"
    scenario = Scenario(name, load.clients, [], [])
    for pair in range(plan.pairs):
        seeded = replace(load, seed=pair)
        for who, runs in zip(plan.names, (scenario.ours, scenario.theirs), strict=True):
            runs.append(run_once(who, plan.setup(load), seeded))
            rate = runs[-1].summary.output_rate
            print(f"  {scenario.name}: pair {pair + 1}, {who}: {rate:.1f} tokens/s", flush=True)
    return scenario


def compare(plan: Plan) -> Comparison:
    """Run everything; print each table as it is complete."""
    model = {"model": plan.model.name, "model_bytes": plan.model.stat().st_size}
    # Results are kept and shown: a file's name says enough, its folder is nobody's business.
    command = [
        Path(word).name if "/" in word and Path(word).exists() else word for word in sys.argv[1:]
    ]
    comparison = Comparison(plan.names, command, machine.describe() | model, [])
    for load in plan.loads:
        comparison.scenarios.append(run_scenario(plan, load))
        print(format_table(comparison.scenarios[-1], plan.names), flush=True)
    return comparison


def make_loads(clients: str, rounds: int, **sizes: int) -> Iterator[Load]:
    for n in map(int, clients.split(",")):
        yield Load(clients=n, requests=n * rounds, **sizes)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--model", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--ours", default="trillama", show_default=True, help="as --rival")
@click.option("--rival", default="equal", help="equal, xllamacpp or [API:MODEL@]URL")
@click.option("--rival-kv", default="unified", type=click.Choice(["unified", "split"]))
@click.option("--clients", default="1,8,16", show_default=True)
@click.option("--prompt-tokens", default=100, show_default=True)
@click.option("--new-tokens", default=64, show_default=True)
@click.option("--shared-prefix", default=0, help="tokens common to all prompts, before their own")
@click.option("--rounds", default=3, show_default=True, help="requests of each client")
@click.option("--pairs", default=5, show_default=True)
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
@click.option("--stem", default="versus", show_default=True, help="name of the result files")
@click.option("--keep", is_flag=True, help="write to results/kept, which is in git")
def main(**options: Any) -> None:
    machine.warn_if_busy()
    sizes = {name: options[name] for name in ("prompt_tokens", "new_tokens", "shared_prefix")}
    plan = Plan(
        names=(options["ours"], options["rival"]),
        model=options["model"],
        threads=options["threads"],
        unified=options["rival_kv"] == "unified",
        pairs=options["pairs"],
        loads=[*make_loads(options["clients"], options["rounds"], **sizes)],
    )
    path = write(compare(plan), options["stem"], options["keep"])
    print(f"written: {path}")


if __name__ == "__main__":
    main()
