"""Comparisons as a table, a JSON file and a picture; ratios above 1 always mean ours is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.stats import Reply, Summary, gaps, median, ratio

RESULTS = Path(__file__).with_name("results")
#: Attribute of Summary, its title, and whether more of it is better.
ROWS = (
    ("output_rate", "output tokens/s", True),
    ("prompt_rate", "prompt tokens/s", True),
    ("ttft_p50", "first token p50, ms", False),
    ("ttft_p99", "first token p99, ms", False),
    ("gap_p50", "token gap p50, ms", False),
    ("gap_p99", "token gap p99, ms", False),
    ("worst_gap", "worst gap, ms", False),
)


class Seen(msgspec.Struct, array_like=True):
    """One reply, short enough to be kept: seconds since the load began, and counts of tokens."""

    sent: float
    first_text: float
    ended: float
    worst_gap: float
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    error: str | None


class Run(msgspec.Struct):
    """One server under one load: figures, what each client saw, memory in bytes at its peak."""

    summary: Summary
    seen: list[Seen]
    peak_memory: int
    started_in: float


def shorten(replies: Sequence[Reply]) -> list[Seen]:
    """The raw numbers of a run, without the time of every single token."""
    begin = min(reply.sent for reply in replies)
    return [_shorten(reply, begin) for reply in replies]


def _shorten(reply: Reply, begin: float) -> Seen:
    return Seen(
        sent=round(reply.sent - begin, 5),
        first_text=round((reply.texts[0] if reply.texts else reply.ended) - begin, 5),
        ended=round(reply.ended - begin, 5),
        worst_gap=round(max(gaps(reply), default=0.0), 5),
        prompt_tokens=reply.prompt_tokens,
        cached_tokens=reply.cached_tokens,
        output_tokens=reply.output_tokens,
        error=reply.error,
    )


class Scenario(msgspec.Struct):
    """Paired runs of one load: `ours[i]` and `theirs[i]` followed each other."""

    name: str
    clients: int
    ours: list[Run]
    theirs: list[Run]


class Comparison(msgspec.Struct):
    """Everything one invocation found; this is the JSON file."""

    names: tuple[str, str]
    command: list[str]
    facts: dict[str, object]
    scenarios: list[Scenario]


@dataclass(frozen=True)
class Row:
    """One line of the table: medians of both, and the better-by ratio with its range over pairs."""

    title: str
    ours: float
    theirs: float
    better: float
    low: float
    high: float


def rows(scenario: Scenario) -> list[Row]:
    return [_row(scenario, *spec) for spec in ROWS]


def _row(scenario: Scenario, attribute: str, title: str, more_is_better: bool) -> Row:
    ours = [getattr(run.summary, attribute) for run in scenario.ours]
    theirs = [getattr(run.summary, attribute) for run in scenario.theirs]
    over, under = (ours, theirs) if more_is_better else (theirs, ours)
    each = [a / b if b else math.nan for a, b in zip(over, under, strict=True)]
    return Row(title, median(ours), median(theirs), ratio(over, under), min(each), max(each))


def format_table(scenario: Scenario, names: tuple[str, str]) -> str:
    """The scenario for a terminal, with a line for everything that went wrong."""
    lines = [f"{scenario.name}   ({len(scenario.ours)} pairs)"]
    lines.append(f"  {'':24}{names[0]:>12}{names[1]:>12}{'better by':>11}   range")
    for row in rows(scenario):
        medians = f"{row.ours:12.1f}{row.theirs:12.1f}"
        lines.append(f"  {row.title:24}{medians}{row.better:10.2f}x   {row.low:.2f}-{row.high:.2f}")
    memory = "".join(f"{_memory(runs):12.0f}" for runs in (scenario.ours, scenario.theirs))
    lines.append(f"  {'peak memory, MiB':24}{memory}")
    return "\n".join([*lines, *complaints(scenario, names)])


def _memory(runs: Sequence[Run]) -> float:
    return median([run.peak_memory / 2**20 for run in runs])


def complaints(scenario: Scenario, names: tuple[str, str]) -> list[str]:
    """Whatever makes a figure untrustworthy: errors, other lengths than asked for."""
    found = []
    for name, runs in zip(names, (scenario.ours, scenario.theirs), strict=True):
        for i, run in enumerate(runs):
            s = run.summary
            if s.errors or s.wrong_lengths:
                found.append(
                    f"  ! {name}, run {i + 1}: {s.errors} errors and {s.wrong_lengths} replies of "
                    f"another length, of {s.requests}"
                )
    return found


def write(comparison: Comparison, stem: str, keep: bool) -> Path:
    """Write JSON and picture under results/, or results/kept/; return the JSON's path."""
    folder = RESULTS / "kept" if keep else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.json"
    path.write_bytes(msgspec.json.encode(comparison) + b"\n")
    plot(comparison, path.with_suffix(".png"))
    return path


def plot(comparison: Comparison, path: Path) -> None:
    """Bars of both servers for each scenario; nothing happens where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panels = (ROWS[0], ROWS[2], ROWS[4])
    for axes, (attribute, title, _) in zip(figure.subplots(1, 3), panels, strict=True):
        for i, (name, side) in enumerate(zip(comparison.names, ("ours", "theirs"), strict=True)):
            heights = [
                median([getattr(run.summary, attribute) for run in getattr(scenario, side)])
                for scenario in comparison.scenarios
            ]
            axes.bar([x + 0.4 * i for x in range(len(heights))], heights, 0.38, label=name)
        ticks = [x + 0.2 for x in range(len(comparison.scenarios))]
        axes.set_xticks(ticks, [s.name for s in comparison.scenarios], fontsize=7)
        axes.set_title(title, fontsize=9)
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=150)
