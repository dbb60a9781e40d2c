"""Writes the three locks anew: what trillama runs on, what checks it, what compiles llama.cpp.

One version of each package for every supported Python and system, each with its hashes, and no
word about the index it came from: whoever installs uses the index of their own settings.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD_TOOLS = "scikit-build-core[pyproject]\ncmake\nninja\n"
OPTIONS = (
    "--universal",
    "--python-version=3.11",
    "--fork-strategy=fewest",
    "--generate-hashes",
    "--no-annotate",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--quiet",
)


def compile_lock(name: str, *sources: str, stdin: str | None = None) -> None:
    """Resolve ``sources`` into the lock ``name``; what is pinned there stays unless it cannot."""
    command = ("uv", "pip", "compile", *OPTIONS, *sources, "-o", name)
    subprocess.run(command, cwd=ROOT, input=stdin, text=True, check=True)


def main() -> None:
    """Write all locks."""
    if not shutil.which("uv"):
        sys.exit("uv is needed to resolve dependencies: pip install uv")
    compile_lock("requirements.lock", "pyproject.toml", *sys.argv[1:])
    constrained = ("--extra=dev", "--constraint=requirements.lock")
    compile_lock("requirements-dev.lock", "pyproject.toml", *constrained, *sys.argv[1:])
    compile_lock("requirements-build.lock", "-", *sys.argv[1:], stdin=BUILD_TOOLS)


if __name__ == "__main__":
    main()
