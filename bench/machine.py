"""What a result must carry to be believed: commit, machine, versions, and how busy it all was."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from tools import build_flags

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("trillama", "llama-cpp-python", "numpy", "trio", "quart", "hypercorn", "msgspec")
#: Above this many other runnable tasks a core, figures say more of the neighbours than of servers.
BUSY = 0.25


def describe() -> dict[str, object]:
    """Facts of this moment, ready for JSON."""
    machine = build_flags.inspect(os.environ, cuda=False)
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": machine.cpu_name,
        "cores": os.cpu_count(),
        "cpu_flags": sorted(machine.cpu_features),
        "compilers": sorted({compiler.banner for compiler in machine.compilers}),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "load_average": os.getloadavg(),
    }


def commit() -> str:
    """Commit of this checkout, with `+` when files differ from it; where a copy without history
    runs, what BENCH_COMMIT says."""
    head = _git("rev-parse", "--short=12", "HEAD")
    if head == "unknown":
        return os.environ.get("BENCH_COMMIT", head)
    return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def warn_if_busy() -> None:
    """Say so when the machine has other work."""
    per_core = os.getloadavg()[0] / (os.cpu_count() or 1)
    if per_core > BUSY:
        print(f"warning: the machine is busy ({per_core:.2f} tasks a core); ratios will be noisy")


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
