"""The way in: unpack what was built elsewhere, find the libraries, go on in a fresh interpreter.

    python3 -m bench.gpu --pack .gpu-pack --work /tmp/gpu --out "$OUT" --minutes 9
    python3 -m bench.gpu --shape toy --binaries FOLDER --work /tmp/gpu --out /tmp/gpu --minutes 2

Only the standard library is imported here: a bare machine has no more until the pack is open.
Every stage may be run again; what was done is not done twice.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = ("libcublas.so.13", "libcublasLt.so.13", "libcudart.so.13", "libcuda.so.1")
PLACES = (
    "/usr/local/cuda*/lib64",
    "/usr/local/cuda*/targets/x86_64-linux/lib",
    "/opt/*/.venv/lib/python3*/site-packages/nvidia/*/lib",
    "/usr/local/lib/python3*/*-packages/nvidia/*/lib",
    "/usr/lib/python3/dist-packages/nvidia/*/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/local/nvidia/lib64",
)


def unpack(pack: Path, work: Path) -> None:
    """Open the binaries and the wheels of a pack into `work`, once."""
    done = work / ".unpacked"
    if done.exists():
        return
    begin = time.monotonic()
    (work / "bin").mkdir(parents=True, exist_ok=True)
    archive = pack / "binaries.tar.xz"
    tar = subprocess.Popen(["tar", "-xJf", str(archive), "-C", str(work / "bin")])
    for wheel in sorted((pack / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(work / "site")
    if tar.wait():
        raise SystemExit(f"{archive} cannot be opened")
    if (pack / "gpu.json").exists():  # what an earlier machine has measured
        shutil.copy(pack / "gpu.json", work / "gpu.json")
    done.touch()
    print(f"unpacked in {time.monotonic() - begin:.1f} s", flush=True)


def library_folders() -> Iterator[Path]:
    """Folders that hold CUDA's own libraries: of Python packages first, then the toolkit's."""
    patterns = [f"{entry}/nvidia/*/lib" for entry in sys.path if entry] + list(PLACES)
    seen: set[str] = set()
    for pattern in patterns:
        for folder in sorted(Path("/").glob(pattern.lstrip("/"))):
            found = {name for name in NEEDED if (folder / name).exists()} - seen
            if found:
                seen |= found
                yield folder


def environment(binaries: Path, site: Path) -> dict[str, str]:
    """The environment in which Python finds our packages and llama.cpp its libraries."""
    folders = [str(binaries), *map(str, library_folders()), os.environ.get("LD_LIBRARY_PATH", "")]
    paths = [str(REPOSITORY), str(site), os.environ.get("PYTHONPATH", "")]
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    env["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
    if (binaries / "libllama.so").exists():
        env["LLAMA_CPP_LIB_PATH"] = str(binaries)
    return env


def main() -> None:
    begin = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--pack", type=Path, help="folder with binaries.tar.xz and wheels/")
    parser.add_argument("--binaries", type=Path, help="folder with llama-server, without a pack")
    parser.add_argument("--work", type=Path, required=True, help="where models and programs go")
    parser.add_argument("--out", type=Path, required=True, help="where gpu.json goes")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything")
    options, rest = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.pack:
        unpack(options.pack, options.work)
    binaries = options.binaries or options.work / "bin"
    left = options.minutes - (time.monotonic() - begin) / 60
    command = [sys.executable, "-u", "-m", "bench.gpu.stages", "--binaries", str(binaries)]
    command += ["--work", str(options.work), "--out", str(options.out), "--minutes", f"{left:.3f}"]
    os.execve(sys.executable, [*command, *rest], environment(binaries, options.work / "site"))


if __name__ == "__main__":
    main()
