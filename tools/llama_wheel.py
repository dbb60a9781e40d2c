"""One compiled llama-cpp-python per kind of build, kept for every checkout of this machine.

pip keeps what it compiled under the name and version alone: it does not know the compiler flags,
the compiler or the processor, and would hand a wheel made for another machine, or with flags that
crash on this one, to anyone who shares its cache. So the wheel is built past pip's cache and kept
in a folder named by a hash of everything the machine code depends on.

The source archive and the tools that build it come from the locks and are checked by their hashes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from tools.build_flags import Flags, Machine, environment

PACKAGE = "llama-cpp-python"
NINJA_LINE = re.compile(r"\[\s*(\d+)/(\d+)\]\s+(.*)")
OBJECT_FILE = re.compile(r"(\S+?)\.o(bj)?$")
BYTES_PER_JOB = 1 << 30  # the hungriest llama.cpp source needs about this much to compile
TAIL_LINES = 40


class BuildFailed(Exception):
    """The compilation failed; the text carries the end of its log."""


@dataclass(frozen=True)
class Order:
    """What to build and for what."""

    requirement: str  # the block of the lock: name, version and hashes
    build_lock: Path  # the tools of the build
    machine: Machine
    flags: Flags
    env: Mapping[str, str]


def split_lock(lock: str) -> tuple[str, str]:
    """Cut a lock into (llama-cpp-python's block, everything else)."""
    blocks = re.split(r"\n(?=\S)", lock.strip() + "\n")
    mine = [block for block in blocks if block.startswith(f"{PACKAGE}==")]
    if len(mine) != 1:
        raise ValueError(f"the lock must hold {PACKAGE} exactly once, not {len(mine)} times")
    rest = [block for block in blocks if block is not mine[0]]
    return mine[0].strip() + "\n", "\n".join(rest).strip() + "\n"


def cache_key(order: Order) -> str:
    """The name of the folder: equal only where the machine code would be equal."""
    machine = asdict(order.machine) | {"cpu_features": sorted(order.machine.cpu_features)}
    facts = {
        "requirement": order.requirement,
        "machine": machine,
        "flags": [order.flags.compile, order.flags.cmake],
        "given": {name: order.env.get(name, "") for name in ("CFLAGS", "CXXFLAGS", "CMAKE_ARGS")},
        "gpus": _gpus() if order.machine.cuda_compiler else "",
        "platform": sysconfig.get_platform(),  # any Python: the bindings are plain ctypes
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def cache_root(env: Mapping[str, str], fallback: Path) -> Path:
    """Where wheels are kept: the user's cache folder, or ``fallback`` where that is read-only."""
    home = env.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(home) / "trillama" / "wheels"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError:
        root = fallback
    if not os.access(root, os.W_OK):
        root = fallback
    root.mkdir(parents=True, exist_ok=True)
    return root


def obtain(order: Order, root: Path, out: TextIO) -> Path:
    """The wheel for ``order``, compiled now unless some checkout did it before."""
    folder = root / cache_key(order)
    with _locked(folder.with_suffix(".lock"), out):
        wheel = next(folder.glob("*.whl"), None)
        if wheel is None:
            wheel = _build(order, folder, out)
    return wheel


def jobs(env: Mapping[str, str], cpus: int, memory: int) -> str:
    """How many compilers may run at once: the user's word, else what processors and memory bear."""
    given = env.get("CMAKE_BUILD_PARALLEL_LEVEL")
    return given or str(max(1, min(cpus, memory // BYTES_PER_JOB)))


def parse_progress(line: str) -> tuple[int, int, str] | None:
    """(done, total, file) of a line of ninja; None for any other line."""
    found = NINJA_LINE.search(line)
    if not found:
        return None
    last = found[3].split()[-1]
    compiled = OBJECT_FILE.match(last)
    return int(found[1]), int(found[2]), Path(compiled[1] if compiled else last).name


class Progress:
    """Condenses the log of a build: one moving line on a terminal, some twenty lines elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._moving = out.isatty()
        self._started = time.monotonic()
        self._shown = -1

    def feed(self, line: str) -> None:
        step = parse_progress(line)
        if step is None:
            return
        done, total, what = step
        width = len(str(total))
        text = f"  [{done:>{width}}/{total}] {self._elapsed()}  {what}"
        if self._moving:
            columns = shutil.get_terminal_size().columns
            print("\r\033[K" + text[: columns - 1], end="", file=self._out, flush=True)
        elif done * 20 // total != self._shown or done == total:
            self._shown = done * 20 // total
            print(text, file=self._out, flush=True)

    def close(self, verdict: str) -> None:
        start = "\r\033[K" if self._moving else ""
        print(f"{start}  {verdict} after {self._elapsed()}", file=self._out, flush=True)

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        return f"{minutes}:{seconds:02}"


def _build(order: Order, folder: Path, out: TextIO) -> Path:
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder.parent) as name:
        work = Path(name)
        print("fetching the source of llama.cpp and the tools to build it", file=out, flush=True)
        python = _build_environment(work, order)
        source = _fetch_source(python, work, order)
        print("compiling llama.cpp for this machine (minutes, once)", file=out, flush=True)
        made = _compile(python, source, work, order, out)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return Path(shutil.move(made, folder / made.name))


def _build_environment(work: Path, order: Order) -> Path:
    venv = work / "tools"
    _run(sys.executable, "-m", "venv", str(venv))
    python = venv / "bin" / "python"
    _run(str(python), *_pip("install", "--no-deps", "-r", str(order.build_lock)))
    return python


def _fetch_source(python: Path, work: Path, order: Order) -> Path:
    lock = work / "source.lock"
    lock.write_text(order.requirement)
    options = ("--no-deps", "--no-binary", ":all:", "--no-build-isolation", "-d", str(work))
    _run(str(python), *_pip("download", *options, "-r", str(lock)), path=python.parent)
    return next(work.glob("llama_cpp_python-*.tar.gz"))


def _compile(python: Path, source: Path, work: Path, order: Order, out: TextIO) -> Path:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    env = environment(order.flags, order.env)
    env |= {
        "PATH": f"{python.parent}{os.pathsep}{env.get('PATH', os.defpath)}",
        "CMAKE_BUILD_PARALLEL_LEVEL": jobs(env, cpus, _memory()),
        "CMAKE_GENERATOR": "Ninja",
        "SKBUILD_CMAKE_VERBOSE": "false",
    }
    options = ("--no-deps", "--no-build-isolation", "--no-cache-dir", "-v", "-w", str(work))
    command = [str(python), "-m", "pip", "wheel", *options, str(source)]
    log: list[str] = []
    progress = Progress(out)
    with subprocess.Popen(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout or ():
            log.append(line)
            progress.feed(line)
    made = next(work.glob("llama_cpp_python-*.whl"), None)
    if process.returncode or made is None:
        progress.close("failed")
        raise BuildFailed("".join(log[-TAIL_LINES:]))
    progress.close("compiled")
    return made


def _pip(verb: str, *options: str) -> tuple[str, ...]:
    return ("-m", "pip", verb, "-q", "--disable-pip-version-check", "--require-hashes", *options)


def _run(*command: str, path: Path | None = None) -> None:
    env = dict(os.environ)
    if path:
        env["PATH"] = f"{path}{os.pathsep}{env.get('PATH', os.defpath)}"
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise BuildFailed(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpus() -> str:
    query = ("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")
    try:
        return subprocess.run(query, capture_output=True, text=True).stdout
    except OSError:
        return ""


@contextmanager
def _locked(path: Path, out: TextIO) -> Iterator[None]:
    """Two checkouts that need the same wheel at the same time compile it once."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another checkout that compiles the same", file=out, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
