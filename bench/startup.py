"""How long until the server answers, what it weighs at rest, and where import time goes.

    python -m bench.startup

No model is loaded: this is about trillama itself.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from bench.servers import Setup, resident_bytes, started, trillama_command
from bench.stats import median

IMPORT_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|( *)(\S+)")


@dataclass(frozen=True)
class Import:
    """One line of `-X importtime`: microseconds of the module alone and with all it imports."""

    name: str
    own: int
    total: int
    depth: int


def parse_imports(text: str) -> Iterator[Import]:
    for own, total, indent, name in IMPORT_LINE.findall(text):
        yield Import(name, int(own), int(total), len(indent) // 2)


def import_times(statement: str) -> list[Import]:
    """What `statement` imports, in a fresh interpreter with warm file caches."""
    command = [sys.executable, "-X", "importtime", "-c", statement]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(parse_imports(done.stderr))


def by_package(imports: list[Import]) -> list[tuple[str, int]]:
    """Own time summed over top-level packages, longest first."""
    sums: dict[str, int] = {}
    for one in imports:
        package = one.name.partition(".")[0]
        sums[package] = sums.get(package, 0) + one.own
    return sorted(sums.items(), key=lambda item: -item[1])


def start_once(store: Path) -> tuple[float, float, int]:
    """Seconds to the first 200, seconds of `trillama list`, resident bytes at rest."""
    setup = Setup(model=Path(), parallel=1, context=0, threads=1)
    with started(lambda port: trillama_command(setup, port, store)) as running:
        host = running.target.url.removeprefix("http://")
        begin = time.perf_counter()
        command = ["env", f"OLLAMA_HOST={host}", sys.executable, "-m", "trillama", "list"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return running.started_in, time.perf_counter() - begin, resident_bytes(running.pid)


def print_imports(statement: str, top: int) -> None:
    imports = import_times(statement)
    print(f"\n{statement}: {sum(i.own for i in imports) / 1e3:.0f} ms, by package:")
    for package, own in by_package(imports)[:top]:
        print(f"  {own / 1e3:8.1f} ms  {package}")


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--runs", default=5, show_default=True)
@click.option("--top", default=15, show_default=True, help="packages to list")
def main(runs: int, top: int) -> None:
    with tempfile.TemporaryDirectory(prefix="trillama-bench-") as store:
        ready, listed, resident = zip(*(start_once(Path(store)) for _ in range(runs)), strict=True)
    print(f"server start to first 200: {1e3 * median(ready):.0f} ms (median of {runs})")
    print(f"trillama list:             {1e3 * median(listed):.0f} ms")
    print(f"memory at rest:            {median(resident) / 2**20:.0f} MiB")
    for statement in ("import trillama.cli", "import trillama.app"):
        print_imports(statement, top)


if __name__ == "__main__":
    main()
