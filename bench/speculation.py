"""What does guessing ahead bring? Output tokens/s with guesses, next to none, of the same requests.

    python -m bench.speculation --clients 1,4,16

One server; runs in turns, without and with (`draft_num_predict`), of answers that copy their
prompts and of answers that do not. The model is as large as `bench.versus`'s and made to copy, by
an induction circuit in its first two layers (`bench.copying`): no trained one can be had here. Then
some questions once more, one by one, to see that greedy text does not depend on guesses.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import httpx
import msgspec

from bench import machine
from bench.load import Load, Target, measure
from bench.make_model import ModelShape, write_model
from bench.report import RESULTS
from bench.servers import Running, Setup, open_server
from bench.stats import median
from bench.vocabulary import prompt_words

SHAPE = ModelShape(16, 1024, 2816, 16, 8, 32_000, 8192)
TEMPERATURE = {"copy": 0.0, "other": 50.0}
"""Drawn so hot, an answer is anything but its prompt."""


@dataclass(frozen=True)
class Copying(Load):
    """Prompts of unlike words that end with the first of them again: the model goes on from it."""

    def prompt(self, index: int) -> str:
        drawn = random.Random(f"{self.seed}/{index}").sample(prompt_words(), self.prompt_tokens)
        return "Copy:" + "".join(drawn) + "\n" + drawn[0]


class Pair(msgspec.Struct):
    """Neighbouring runs: output tokens/s without and with guesses."""

    work: str
    clients: int
    plain: float
    guessing: float
    errors: int

    @property
    def ratio(self) -> float:
        return self.guessing / self.plain


def with_guesses(target: Target, most: int, temperature: float) -> Target:
    """Requests that guess so many tokens at most in a step; -1: as pays."""
    options = {"temperature": temperature, "draft_num_predict": most, "top_p": 1.0, "min_p": 0.0}
    return replace(target, extra={"options": options})


def compare(server: Running, work: str, load: Load) -> Pair:
    """One run without and one with guesses, of other prompts, so that no cache is in it."""
    rates, errors = [], 0
    for turn, most in enumerate((0, -1)):
        asked = replace(load, seed=2 * load.seed + turn)
        summary, _ = measure(with_guesses(server.target, most, TEMPERATURE[work]), asked)
        rates.append(summary.output_rate)
        errors += summary.errors
    return Pair(work, load.clients, rates[0], rates[1], errors)


def same_text(target: Target, load: Load) -> tuple[int, int, int, int]:
    """Questions with equal greedy text, questions, guesses and right ones among them."""
    same = drafted = accepted = 0
    for index in range(load.requests):
        answers = []
        for most in (0, -1):
            options = {"temperature": 0, "draft_num_predict": most, "num_predict": load.new_tokens}
            body = {"model": target.model, "prompt": load.prompt(index), "raw": True}
            body |= {"stream": False, "options": options}
            reply = httpx.post(f"{target.url}/api/generate", json=body, timeout=300)
            answers.append(reply.raise_for_status().json())
        same += answers[0]["response"] == answers[1]["response"]
        drafted += answers[1].get("draft_count", 0)
        accepted += answers[1].get("draft_accepted_count", 0)
    return same, load.requests, drafted, accepted


def format_pairs(pairs: list[Pair]) -> str:
    lines = [f"{'work':8}{'clients':>8}{'plain':>10}{'guessing':>10}{'ratio':>8}{'range':>14}"]
    for key in dict.fromkeys((pair.work, pair.clients) for pair in pairs):
        mine = [pair for pair in pairs if (pair.work, pair.clients) == key]
        ratios = sorted(pair.ratio for pair in mine)
        plain = median([pair.plain for pair in mine])
        guessing = median([pair.guessing for pair in mine])
        spread = f"{ratios[0]:.2f}..{ratios[-1]:.2f}"
        figures = f"{plain:10.1f}{guessing:10.1f}{median(ratios):8.2f}{spread:>14}"
        lines.append(f"{key[0]:8}{key[1]:8}{figures}")
        if errors := sum(pair.errors for pair in mine):
            lines.append(f"  ! {errors} errors")
    return "\n".join(lines)


@contextmanager
def copying_model(given: Path | None) -> Iterator[Path]:
    """``given``, or a model that is gone with the block."""
    with tempfile.TemporaryDirectory(prefix="trillama-bench-") as folder:
        path = given or Path(folder) / "copies.gguf"
        if given is None:
            write_model(path, SHAPE, "Q4_0", seed=0, copies=True)
        yield path


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--model", type=click.Path(path_type=Path, exists=True), help="made with --copies")
@click.option("--clients", default="1,4,16", show_default=True)
@click.option("--pairs", default=3, show_default=True)
@click.option("--prompt-tokens", default=200, show_default=True)
@click.option("--new-tokens", default=128, show_default=True)
@click.option("--kv-layout", default="unified", type=click.Choice(["unified", "streams"]))
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(
    model: Path | None, clients: str, pairs: int, kv_layout: str, threads: int, **sizes: int
) -> None:
    machine.warn_if_busy()
    counts = [int(count) for count in clients.split(",")]
    longest = sum(sizes.values()) + 64
    result: dict[str, Any] = {"facts": machine.describe()}
    with copying_model(model) as path:
        pool = max(counts) * longest
        setup = Setup(path, max(counts), pool, threads, longest, kv_layout=kv_layout)
        with open_server("trillama", setup) as server:
            result["pairs"] = [
                compare(server, work, Copying(count, requests=count, seed=seed, **sizes))
                for work in TEMPERATURE
                for count in counts
                for seed in range(pairs)
            ]
            print(format_pairs(result["pairs"]), flush=True)
            result["same"] = same_text(server.target, Copying(1, requests=4, seed=99, **sizes))
    same, asked, drafted, accepted = result["same"]
    print(f"greedy text the same in {same} of {asked}; {accepted} of {drafted} guesses right")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "speculation.json").write_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
