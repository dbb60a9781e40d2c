"""``python -m trillama.models.convert FOLDER OUT.gguf [--type F16|F32]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trillama.base.errors import TrillamaError

from . import FLOATS, convert


def main(arguments: list[str]) -> int:
    """Convert one folder; 1 and a line on standard error when that is impossible."""
    parser = argparse.ArgumentParser(prog="trillama.models.convert", description=convert.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--type", dest="kind", choices=list(FLOATS), default="F16")
    asked = parser.parse_args(arguments)
    try:
        path = convert(asked.folder, asked.target, asked.kind)
    except TrillamaError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return 1
    sys.stdout.write(f"{path} {path.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
