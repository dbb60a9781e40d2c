"""From the JSON of results to the tables of docs/BENCHMARKS.md: pure arithmetic and text.

    python -m bench.gpu.tables bench/results/kept/gpu.json --write docs/BENCHMARKS.md

What was not measured is said to be so; no figure comes from anywhere but the file.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gpu.results import Record, load
from bench.gpu.shapes import RECIPES
from bench.stats import median

MISSING = "not measured"
BEGIN, END = "<!-- gpu tables: begin -->", "<!-- gpu tables: end -->"


class Figures:
    """Figures of a record by what they mean; NaN where they are missing."""

    def __init__(self, record: Record) -> None:
        self._values = {n: e.value for n, e in record.entries.items() if e.status == "done"}
        self.crowd: int = record.facts.get("crowd", 64)

    def value(self, name: str) -> Any:
        """The value of a measurement; {} where it is missing."""
        return self._values.get(name, {})

    def number(self, name: str, key: str) -> float:
        return float(self.value(name).get(key, math.nan))

    def loads(self, prefix: str, clients: int) -> list[dict[str, Any]]:
        """Runs at a number of clients of all measurements whose name begins so."""
        values = [v for name, v in self._values.items() if name.startswith(prefix)]
        return [run for v in values for run in v["loads"] if run["clients"] == clients]

    def median(self, prefix: str, clients: int, key: str = "output_rate") -> float:
        return median([run[key] for run in self.loads(prefix, clients)])

    def ceiling(self, name: str, clients: int, key: str) -> float:
        rows = self.value(name) or []
        return next((float(row[key]) for row in rows if row["pl"] == clients), math.nan)

    def beginning(self, prefix: str) -> list[tuple[str, Any]]:
        """Measurements whose name begins so, by the rest of it."""
        return [
            (n.removeprefix(prefix), v) for n, v in self._values.items() if n.startswith(prefix)
        ]

    def clients(self) -> list[int]:
        """Numbers of clients that the large model was asked with."""
        values = [v for name, v in self._values.items() if name.startswith("ours.8b.")]
        return sorted({run["clients"] for v in values for run in v["loads"]})


@dataclass(frozen=True)
class Claim:
    """Something that must hold: a measured number and the bound it must keep."""

    text: str
    measured: float
    bound: float
    at_most: bool = False

    @property
    def verdict(self) -> str:
        if math.isnan(self.measured):
            return MISSING
        held = self.measured <= self.bound if self.at_most else self.measured >= self.bound
        return "held" if held else "**not held**"

    def row(self) -> list[str]:
        sign = "≤" if self.at_most else "≥"
        return [self.text, f"{sign} {self.bound:g}", show(self.measured, 2), self.verdict]


def show(value: float, digits: int = 0) -> str:
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def over(a: float, b: float) -> float:
    return a / b if b else math.nan


def claims(f: Figures) -> Iterator[Claim]:
    """What must hold, each with what was measured."""
    crowd = f.crowd
    for clients, least in ((1, 1.0), (8, 1.0), (crowd, 1.5)):
        ratio = over(f.median("ours.8b.", clients), f.median("rival.8b.", clients))
        yield Claim(f"8B, {clients} clients: output tokens/s over llama-server's", ratio, least)
    period = f.number("shares.8b", "period_ms")
    rate = 1e3 * crowd / period if period else math.nan
    ceiling = f.ceiling("ceiling.8b.split", crowd, "speed_tg")
    text = f"8B, {crowd} clients: decode rate over llama-batched-bench's"
    yield Claim(text, over(rate, ceiling), 0.9)
    small = over(f.median("ours.1b.", crowd), f.median("rival.1b.", crowd))
    yield Claim(f"1B, {crowd} clients: output tokens/s over llama-server's", small, 2.0)
    alone = over(f.median("ours.8b.", crowd), f.number("one_at_a_time.8b", "output_rate"))
    yield Claim(f"8B, {crowd} clients: over one sequence at a time", alone, 10.0)
    stall = f.value("stall.8b.trillama")
    gap = over(stall.get("gap_p99", math.nan), stall.get("median_gap", math.nan))
    text = "8B, a long prompt among 32 streams: p99 of the gaps over the median before"
    yield Claim(text, gap, 3.0, at_most=True)
    memory = f.value("cycles.1b").get("memory_mib", [])
    growth = over(memory[-1], memory[0]) if memory else math.nan
    yield Claim("memory after the last unload over that after the first", growth, 1.01, True)
    times = f.value("read_against_load.8b")
    for state in ("warm", "cold"):
        ratio = over(times.get(f"load_{state}", math.nan), times.get(f"read_{state}", math.nan))
        yield Claim(f"8B, load over one read of the file, {state}", ratio, 1.2, at_most=True)
    outside = f.number("shares.8b", "outside_share")
    yield Claim(f"8B, {crowd} clients: share of a step outside llama.cpp", outside, 0.1, True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, or that there is nothing to show."""
    if not rows:
        return f"{MISSING}."
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def throughput(f: Figures) -> str:
    head = ["8B, clients", "ours tokens/s", "llama-server", "better by"]
    head += ["batched-bench decode, parts", "in one pool"]
    head += ["first token p50, ms", "llama-server", "gap p50, ms", "llama-server"]
    rows = []
    for n in f.clients():
        ours, theirs = f.median("ours.8b.", n), f.median("rival.8b.", n)
        row = [str(n), show(ours), show(theirs), show(over(ours, theirs), 2)]
        row += [show(f.ceiling(f"ceiling.8b.{kv}", n, "speed_tg")) for kv in ("split", "unified")]
        for key in ("ttft_p50", "gap_p50"):
            row += [show(f.median(f"{who}.8b.", n, key), 1) for who in ("ours", "rival")]
        rows.append(row)
    return table(head, rows)


def variants(f: Figures) -> str:
    """Single numbers beside the main table, for the reader who asks "but what if"."""
    crowd = f.crowd
    named = [
        ("8B, llama-server, one pool", "rival_unified.8b."),
        ("8B, llama-server, no host cache", "rival_no_cache.8b."),
        ("8B, ours, one pool", "ours_pool.8b"),
        ("8B, ours, step budget off", "ours_budget_off.8b"),
        ("8B, ours, step budget 256", "ours_budget_256.8b"),
        ("8B, ours, step budget 1024", "ours_budget_1024.8b"),
        ("1B, ours", "ours.1b."),
        ("1B, llama-server", "rival.1b."),
    ]
    rows = []
    for text, prefix in named:
        if f.loads(prefix, crowd):
            keys = ("output_rate", "ttft_p50", "gap_p50", "gap_p99")
            rows.append([text, *(show(f.median(prefix, crowd, k), 1) for k in keys)])
    head = [f"{crowd} clients", "tokens/s", "first token p50, ms", "gap p50, ms", "gap p99, ms"]
    return table(head, rows)


def weights(f: Figures) -> str:
    """The large model in other weights: what they cost, and what they bring a crowd."""
    crowd = f.crowd
    main = f.value("ours.8b.1") | {"ceiling": f.value("ceiling.8b.split")}
    rows = []
    for name, found in [("8b", main), *f.beginning("weights.")]:
        loads = {run["clients"]: run for run in found.get("loads", [])}
        ceiling = {row["pl"]: row for row in found["ceiling"]}
        if crowd in loads and crowd in ceiling:
            kind = RECIPES[name].kind if name in RECIPES else name
            numbers = [ceiling.get(1, {}).get("speed_tg", math.nan), ceiling[crowd]["speed_tg"]]
            numbers += [ceiling[crowd]["speed_pp"], loads[crowd]["output_rate"]]
            rows.append([kind, *map(show, numbers)])
    head = ["8B in", "decode, 1", f"decode, {crowd}", "prompts", f"ours, {crowd} clients"]
    return table([head[0], *(f"{text}, tokens/s" for text in head[1:])], rows)


def steps(f: Figures) -> str:
    found, pool = f.value("shares.8b"), f.value("shares_pool.8b")
    rows = [
        [key, show(float(value), 4), show(float(pool.get(key, math.nan)), 4)]
        for key, value in found.items()
    ]
    return table([f"full steps, {f.crowd} clients", "value", "in one pool"], rows)


def stalls(f: Figures) -> str:
    rows = []
    for who in ("trillama", "equal"):
        if a := f.value(f"stall.8b.{who}"):
            keys = ("median_gap", "gap_p99", "worst_gap", "long_ttft")
            rows.append([who, *(show(float(a[key] or math.nan), 1) for key in keys)])
    head = [
        "a long prompt among streams",
        "median gap before, ms",
        "p99 during",
        "worst",
        "its first token",
    ]
    return table(head, rows)


def prompt_rates(f: Figures) -> str:
    rows = [[str(r["n_ubatch"]), show(r["prompt_rate"])] for r in f.value("prompt_rates.8b") or []]
    return table(["n_ubatch", "prompt tokens/s"], rows)


def loading(f: Figures) -> str:
    found = f.value("read_against_load.8b")
    rows = [[key, show(float(value), 2)] for key, value in found.items()]
    return table(["8B, loading", "seconds (bytes in the first row)"], rows)


def troubles(record: Record) -> Iterator[str]:
    """What failed or was left out, and loads with errors in them."""
    for name, entry in record.entries.items():
        if entry.status != "done":
            yield f"- `{name}`: {entry.status}: {entry.note.splitlines()[0][:200]}"
        elif isinstance(entry.value, dict):
            for run in filter(_troubled, entry.value.get("loads", [])):
                count, errors = run["wrong_lengths"], run["errors"]
                where = f"`{name}`, {run['clients']} clients"
                yield f"- {where}: {count} replies of another length, {errors} errors"


def _troubled(run: Any) -> bool:
    return isinstance(run, dict) and bool(run["errors"] or run["wrong_lengths"])


def format_tables(record: Record) -> str:
    """Everything, as Markdown."""
    f, gpu = Figures(record), record.facts.get("gpu", {})
    where = ", ".join(f"{key} {value}" for key, value in gpu.items()) or "no GPU"
    taken, commit = record.facts.get("when", ""), record.facts.get("commit", "")
    parts = [f"Machine: {where}. Taken {taken}, commit {commit}."]
    if record.facts.get("shapes") not in (None, ["8b", "1b"]):
        parts.append(f"A rehearsal with {record.facts['shapes']} in place of 8B and 1B: no result.")
    parts += [table(["must hold", "bound", "measured", ""], [c.row() for c in claims(f)])]
    parts += [throughput(f), weights(f), variants(f), steps(f), stalls(f), prompt_rates(f)]
    parts += [loading(f)]
    if found := list(troubles(record)):
        parts.append("Failed or left out:\n\n" + "\n".join(found))
    return "\n\n".join(parts)


def replace_block(page: str, text: str) -> str:
    """The page with `text` between its markers. Raises ValueError when they are missing."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError("the page has no place for the tables")
    return pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", type=Path, help="the page whose block of tables is replaced")
    options = parser.parse_args()
    text = format_tables(load(options.results))
    print(text)
    if options.write:
        options.write.write_text(replace_block(options.write.read_text(), text))


if __name__ == "__main__":
    main()
