"""Does a long prompt stall the streams that run? Their worst gap against their usual one.

    python -m bench.stall --model m.gguf --streams 16 --prompt-tokens 12000

Streams run until they flow evenly, then one long prompt arrives. What the streams do from its
arrival to its first token is set against what they did just before, and, with `--control`, against
what the same streams do at the same length when nothing arrives, before and after it: a stream gets
slower as it grows, and while a prompt of minutes is read it grows a lot. trillama runs twice, with
its step budget off and on; rivals have none.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import msgspec
import trio

from bench import machine
from bench.load import Load, Target, stream_into
from bench.report import RESULTS
from bench.servers import Setup, open_server
from bench.stats import Reply, gaps, median, percentile

#: Texts of every stream before the long prompt is sent; enough for a median.
SETTLED = 24
#: So many gaps of an undisturbed stream on either side tell what is usual at a length.
AROUND = 8
POLL = 0.02


@dataclass(frozen=True)
class Question:
    """`streams` short requests of `new_tokens` each, then a prompt of `prompt_tokens`."""

    streams: int
    prompt_tokens: int
    new_tokens: int
    seconds: float
    control: bool = False

    @property
    def cells(self) -> int:
        return self.prompt_tokens + 512 + self.streams * (64 + self.new_tokens)


class Answer(msgspec.Struct):
    """Milliseconds; `ratio` is worst over median. `ended_early` streams did not see the end.

    Attributes:
        own_gap: the usual gap of undisturbed streams as long as these were at the end.
        own_ratio: the most that a gap was, in usual ones of undisturbed streams of its length.
        own_p99: of 99 in 100 gaps, the most that they were.
        own_at: milliseconds from the long prompt's arrival to the end of the worst of them.
        noise: the most that a gap of the undisturbed streams was, in usual ones.
    """

    who: str
    median_gap: float
    gap_p99: float
    worst_gap: float
    ratio: float
    long_ttft: float
    slowdown: float
    ended_early: int
    errors: int
    own_gap: float = math.nan
    own_ratio: float = math.nan
    own_p99: float = math.nan
    own_at: float = math.nan
    noise: float = math.nan


def first_text(long: Reply) -> float:
    """When the long prompt was read."""
    return long.texts[0] if long.texts else long.ended


def gaps_beside(stream: Reply, long: Reply) -> list[tuple[int, float]]:
    """Gaps of a stream that ended while the long prompt was read, each with its number."""
    until = first_text(long)
    found = enumerate(pairwise(stream.texts))
    return [(at, b - a) for at, (a, b) in found if long.sent < b <= until]


def open_gap(stream: Reply, until: float) -> list[tuple[int, float]]:
    """A stream that is silent until the end shows no gap that ended: what it waited so far."""
    if stream.ended:
        return []
    texts = [text for text in stream.texts if text <= until]
    return [(max(0, len(texts) - 1), until - max(texts, default=until))]


def judge(who: str, streams: Sequence[Reply], long: Reply) -> Answer:
    """The figures of one experiment. Gaps that end after the long prompt's first text don't count,
    nor does anything before it was sent, but for the median."""
    until = first_text(long)
    before = [b - a for r in streams for a, b in pairwise(r.texts) if b <= long.sent]
    during = [gap for r in streams for _, gap in gaps_beside(r, long)]
    open_gaps = [gap for r in streams for _, gap in open_gap(r, until)]
    usual, worst = median(before), max([*during, *open_gaps], default=float("nan"))
    return Answer(
        who,
        median_gap=1e3 * usual,
        gap_p99=1e3 * percentile(during, 99),
        worst_gap=1e3 * worst,
        ratio=worst / usual,
        long_ttft=1e3 * (until - long.sent),
        slowdown=median(during) / usual,
        ended_early=sum(1 for r in streams if r.ended and r.ended < until),
        errors=sum(1 for r in [*streams, long] if r.error),
    )


def against_own(
    answer: Answer, streams: Sequence[Reply], long: Reply, control: Sequence[Reply]
) -> Answer:
    """The same with the figures of `control`, streams that nothing disturbed."""
    rows = [gaps(reply) for reply in control]
    shortest = min(map(len, rows))
    usual = [
        median([gap for row in rows for gap in row[max(0, i - AROUND) : i + AROUND + 1]])
        for i in range(shortest)
    ]
    until = first_text(long)
    ratios = [
        (gap / usual[min(at, shortest - 1)], r.texts[at + 1] if at + 1 < len(r.texts) else until)
        for r in streams
        for at, gap in [*gaps_beside(r, long), *open_gap(r, until)]
    ]
    worst, ended = max(ratios, default=(math.nan, math.nan))
    noise = max(gap / own for row in rows for gap, own in zip(row, usual, strict=False))
    return msgspec.structs.replace(
        answer,
        own_gap=1e3 * usual[-1],
        own_ratio=worst,
        own_p99=percentile([ratio for ratio, _ in ratios], 99),
        own_at=1e3 * (ended - long.sent),
        noise=noise,
    )


async def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again: the replies tell nobody when they grow, to stay cheap."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(POLL)


async def experiment(target: Target, question: Question) -> tuple[list[Reply], Reply]:
    """Let streams flow, send the long prompt, stop at its first text or at the time limit."""
    long_load = Load(1, question.prompt_tokens, 8, 1, seed=2)
    streams = [Reply(0.0, [], 0.0) for _ in range(question.streams)]
    long = Reply(0.0, [], 0.0)
    with trio.move_on_after(question.seconds):
        async with trio.open_nursery() as nursery:
            start_streams(nursery, streams, target, question.new_tokens)
            await wait_until(lambda: min(len(r.texts) for r in streams) >= SETTLED)
            nursery.start_soon(stream_into, long, target, long_load.prompt(0), 8)
            await wait_until(lambda: bool(long.texts or long.ended))
            nursery.cancel_scope.cancel()
    long.ended = long.ended or time.perf_counter()
    return streams, long


def start_streams(
    nursery: trio.Nursery, replies: Sequence[Reply], target: Target, new_tokens: int, seed: int = 1
) -> None:
    """A short request of `new_tokens` for each reply."""
    load = Load(len(replies), 32, new_tokens, len(replies), seed=seed)
    for i, reply in enumerate(replies):
        nursery.start_soon(stream_into, reply, target, load.prompt(i), new_tokens)


async def undisturbed(target: Target, question: Question, texts: int) -> list[Reply]:
    """Streams like those of the experiment, alone, until each has got so many texts."""
    streams = [Reply(0.0, [], 0.0) for _ in range(question.streams)]
    with trio.move_on_after(question.seconds):
        async with trio.open_nursery() as nursery:
            start_streams(nursery, streams, target, question.new_tokens, seed=4)
            await wait_until(lambda: _are_there(streams, texts))
            nursery.cancel_scope.cancel()
    return streams


def _are_there(streams: Sequence[Reply], texts: int) -> bool:
    return all(len(r.texts) >= texts or r.ended for r in streams)


def ask(who: str, setup: Setup, question: Question) -> Answer:
    """One server, started for this; a warm-up request comes first."""
    label = f"{who}, budget {setup.step_budget}" if who == "trillama" else who
    with open_server(who, setup) as server:
        return ask_running(label, server.target, question)


def ask_running(label: str, target: Target, question: Question) -> Answer:
    """A server that runs already."""
    warm_up = Reply(0.0, [], 0.0)
    trio.run(stream_into, warm_up, target, Load(1, 64, 8, 1, seed=3).prompt(0), 8)
    # A machine's speed changes by the minute: undisturbed streams run on both sides.
    texts = question.new_tokens
    before = trio.run(undisturbed, target, question, texts) if question.control else []
    streams, long = trio.run(experiment, target, question)
    answer = judge(label, streams, long)
    if not question.control:
        return answer
    longest = max(len(r.texts) for r in streams)
    after = trio.run(undisturbed, target, question, longest)
    return against_own(answer, streams, long, [*before, *after])


def format_answers(answers: Sequence[Answer]) -> str:
    """A table; its last columns are there where undisturbed streams were looked at."""
    head = f"{'':24}{'median gap':>12}{'p99':>9}{'worst':>9}{'worst/median':>14}{'long TTFT':>11}"
    compared = any(not math.isnan(a.own_gap) for a in answers)
    if compared:
        head += f"{'own gap':>9}{'p99/own':>9}{'worst/own':>11}{'at':>9}{'noise':>7}"
    lines = [f"{head}   (ms)"]
    for a in answers:
        gaps_text = f"{a.median_gap:12.1f}{a.gap_p99:9.1f}{a.worst_gap:9.1f}"
        against = f"{a.own_gap:9.1f}{a.own_p99:8.1f}x{a.own_ratio:10.1f}x"
        own = f"{against}{a.own_at:9.0f}{a.noise:6.1f}x" if compared else ""
        lines.append(f"{a.who:24}{gaps_text}{a.ratio:13.1f}x{a.long_ttft:11.0f}{own}")
        if a.errors or a.ended_early:
            lines.append(f"  ! {a.errors} errors, {a.ended_early} streams ended early")
    return "\n".join(lines)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--model", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--who", default="trillama,equal", show_default=True, help="comma-separated servers")
@click.option("--budgets", default="off,auto", show_default=True, help="for trillama")
@click.option("--streams", default=16, show_default=True)
@click.option("--prompt-tokens", default=12000, show_default=True)
@click.option("--new-tokens", default=900, show_default=True, help="at most, of each stream")
@click.option("--seconds", default=240.0, show_default=True, help="time limit of each run")
@click.option("--control", is_flag=True, help="the streams twice more, with nothing arriving")
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(model: Path, who: str, budgets: str, threads: int, **numbers: Any) -> None:
    machine.warn_if_busy()
    question = Question(**numbers)
    answers = []
    for name in who.split(","):
        for budget in budgets.split(",") if name == "trillama" else ["auto"]:
            cells, parallel = question.cells, question.streams + 1
            longest = question.prompt_tokens + 512
            setup = Setup(model, parallel, cells, threads, longest, step_budget=budget)
            answers.append(ask(name, setup, question))
            print(format_answers(answers[-1:]), flush=True)
    print(format_answers(answers))
    RESULTS.mkdir(exist_ok=True)
    result = {"facts": machine.describe(), "question": numbers, "answers": answers}
    (RESULTS / "stall.json").write_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
