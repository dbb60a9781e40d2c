"""``trillama bench``: a thin door to the measurements of a checkout."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from trillama.base.errors import BadRequest

CHECKOUT = Path(__file__).parents[2]


def questions(folder: Path = CHECKOUT) -> list[str]:
    """Names of the measurements there are."""
    programs = (folder / "bench").glob("*.py")
    return sorted(path.stem for path in programs if "@click.command" in path.read_text("utf-8"))


def measure(name: str, arguments: Sequence[str]) -> None:
    """Run one measurement with its own arguments, in this process.

    Raises:
        BadRequest: there is no such measurement, or no checkout with them.
    """
    known = questions()
    if not known:
        raise BadRequest("measurements come with the source: clone the repository and run it there")
    if name not in known:
        raise BadRequest(f'no measurement "{name}": {", ".join(known)}')
    sys.path.insert(0, str(CHECKOUT))
    sys.argv = [f"trillama bench {name}", *arguments]
    runpy.run_module(f"bench.{name}", run_name="__main__", alter_sys=True)
