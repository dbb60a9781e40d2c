"""Files out of the sdist of llama-cpp-python: real chat templates of models.

They are not ours to keep in the repository. pip downloads the pinned release by name into .cache/,
its hash is compared with the lock file, and what is wanted of it is unpacked beside it. A machine
that cannot reach an index skips what needs them.
"""

from __future__ import annotations

import functools
import hashlib
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.once import alone
from tests.support.source import ROOT

VERSION = "0.3.36"
ARCHIVE = f"llama_cpp_python-{VERSION}.tar.gz"
FOLDER = ROOT / ".cache" / "sdist"
BENCH = Path.home() / ".cache" / "trillama" / "bench"
"""Where ``bench/`` keeps the same archive."""
TEMPLATES = "vendor/llama.cpp/models/templates/"


def _pinned(path: Path) -> bool:
    """The file is the one that the lock file means."""
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    block = re.search(rf"llama-cpp-python=={VERSION}((?: \\\n\s+--hash=\S+)+)", lock)
    wanted = set(re.findall(r"sha256:(\w+)", block[1] if block else ""))
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() in wanted


def _archive() -> Path:
    for folder in (BENCH, FOLDER):
        if _pinned(folder / ARCHIVE):
            return folder / ARCHIVE
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    command += ["--retries", "1", "-d", str(FOLDER), f"llama-cpp-python=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode or not _pinned(FOLDER / ARCHIVE):
        pytest.skip(f"the sdist of llama-cpp-python cannot be had: {done.stderr[-300:]}")
    return FOLDER / ARCHIVE


def _unpack(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with tarfile.open(_archive()) as archive:
        for member in archive:
            name = member.name.partition(TEMPLATES)[2]
            if name.endswith(".jinja") and (file := archive.extractfile(member)):
                (folder / Path(name).name).write_bytes(file.read())
    (folder / ".complete").touch()


@functools.lru_cache(maxsize=1)
def templates() -> dict[str, str]:
    """Real chat templates, by file name without its ending; skips where they cannot be had."""
    folder = FOLDER / f"templates-{VERSION}"
    with alone(FOLDER):
        if not (folder / ".complete").exists():
            _unpack(folder)
    return {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.jinja"))}
