"""Makes ``.venv`` ready: the pinned packages, llama.cpp compiled for this machine, trillama itself.

Every recipe of the Makefile begins here. When nothing changed since the last time it says nothing
and is done in a blink; what "nothing" means is one hash, kept in the environment it describes.

``CUDA=1`` builds for NVIDIA GPUs; CC, CXX, CUDACXX, CFLAGS, CXXFLAGS and CMAKE_ARGS are handed to
the build. A choice stays with the environment, so that a later ``make test`` does not undo what
``make CUDA=1 run`` did, until it is made anew: ``CUDA=0``, or an empty value.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.build_flags import Unbuildable, choose, explain, inspect
from tools.llama_wheel import BuildFailed, Order, cache_key, cache_root, obtain, split_lock

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements-dev.lock"
BUILD_LOCK = ROOT / "requirements-build.lock"
OLDEST = (3, 11)
CHOICES = ("CUDA", "CC", "CXX", "CUDACXX", "CFLAGS", "CXXFLAGS", "CMAKE_ARGS")
INPUTS = (LOCK, BUILD_LOCK, ROOT / "pyproject.toml", *sorted((ROOT / "tools").glob("*.py")))


class Stop(Exception):
    """Setting up cannot go on; the text says why and what to do."""


@dataclass(frozen=True)
class Stamp:
    """What an environment was made of, and the choices of the user that made it."""

    digest: str
    choices: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Stamp | None:
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(vars(self)))


def choices(env: Mapping[str, str], last: Stamp | None) -> dict[str, str]:
    """What the user wants of the build: said now, or said earlier and not taken back since."""
    remembered = last.choices if last else {}
    merged = remembered | {name: env[name] for name in CHOICES if name in env}
    if merged.get("CUDA", "") not in ("", "0", "1"):
        raise Stop(f"CUDA is {merged['CUDA']!r}; it may be 0 or 1")
    nothing = {"CUDA": ("", "0")}
    return {name: value for name, value in merged.items() if value not in nothing.get(name, ("",))}


def digest(key: str, inputs: tuple[Path, ...] = INPUTS) -> str:
    """A hash of all that an environment is made of."""
    total = hashlib.sha256(f"{sys.version}\0{sys.base_prefix}\0{ROOT}\0{key}".encode())
    for path in inputs:
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def ensure_system_packages() -> None:
    """Debian keeps venv and the C++ compiler in packages of their own."""
    missing = []
    if importlib.util.find_spec("ensurepip") is None:
        missing.append(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
    if not (os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")):
        missing.append("g++")
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Stop(f"missing: {', '.join(missing)}\non Debian or Ubuntu: sudo {' '.join(command)}")
    say(f"installing {', '.join(missing)} with apt-get")
    subprocess.run(["apt-get", "update", "-qq"], check=False)
    if subprocess.run(command).returncode:
        raise Stop(f"apt-get could not install {', '.join(missing)}")


def install(order: Order, packages: str) -> None:
    """Fill ``.venv``; every step may be repeated after a failure."""
    make_venv()
    say("installing the pinned packages")
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "packages.lock"
        lock.write_text(packages)
        pip("install", "--require-hashes", "--no-deps", "-r", str(lock))
    wheel = obtain(order, cache_root(os.environ, ROOT / ".cache" / "wheels"), sys.stdout)
    pip("install", "--no-deps", "--no-index", "--force-reinstall", str(wheel))
    pip("install", "--no-deps", "--no-build-isolation", "--no-index", "-e", str(ROOT))
    pip("check")
    smoke(wheel)


def make_venv() -> None:
    """Keep an environment of this very Python, replace any other."""
    python = VENV / "bin" / "python"
    ask = "import sys; print(sys.version, sys.base_prefix)"
    if python.exists():
        answer = subprocess.run([python, "-c", ask], capture_output=True, text=True).stdout
        if answer.strip() == f"{sys.version} {sys.base_prefix}":
            return
    say(f"creating .venv with Python {sys.version.split()[0]}")
    run(sys.executable, "-m", "venv", "--clear", str(VENV))


def smoke(wheel: Path) -> None:
    """Let the new library decode, in a process of its own: a bad build dies, it does not raise."""
    done = subprocess.run([VENV / "bin" / "python", ROOT / "tools" / "smoke.py", ROOT])
    if done.returncode == 0:
        return
    wheel.unlink(missing_ok=True)  # never hand a broken build to the next checkout
    how = f"exit status {done.returncode}"
    if done.returncode < 0:
        how = signal.Signals(-done.returncode).name
    raise Stop(
        f"llama.cpp was compiled but does not run here ({how}).\n"
        "The compiler may be miscompiling for this processor; another one is tried with\n"
        "  make CC=clang CXX=clang++ run\n"
        "and the plainest build with\n"
        "  CMAKE_ARGS=-DGGML_NATIVE=off make run"
    )


def pip(verb: str, *options: str) -> None:
    """Run the environment's pip, quiet unless it fails."""
    run(str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", verb, *options)


def run(*command: str) -> None:
    """Run a command; its words are shown only when it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Stop(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)


def bootstrap() -> None:
    """Bring ``.venv`` up to date, or find that it is."""
    if sys.version_info < OLDEST:
        here = ".".join(map(str, sys.version_info[:3]))
        raise Stop(f"Python {here} is too old; use for example: make PYTHON=python3.11 run")
    ensure_system_packages()
    path = VENV / ".trillama-ready"
    last = Stamp.read(path)
    wanted = choices(os.environ, last)
    env = {name: value for name, value in os.environ.items() if name not in CHOICES} | wanted
    machine = inspect(env, cuda=wanted.get("CUDA") == "1")
    flags = choose(machine, wanted.get("CMAKE_ARGS", ""))
    requirement, packages = split_lock(LOCK.read_text())
    order = Order(requirement, BUILD_LOCK, machine, flags, env)
    now = Stamp(digest(cache_key(order)), wanted)
    if now == last and (VENV / "bin" / "python").exists():
        return
    for line in explain(machine, flags):
        say(line)
    path.unlink(missing_ok=True)
    install(order, packages)
    now.write(path)
    say("ready")


def main() -> None:
    """Run, and turn what is expected to go wrong into one readable text."""
    try:
        bootstrap()
    except (Stop, Unbuildable, BuildFailed) as error:
        sys.exit(f"set-up failed: {error}")
    except KeyboardInterrupt:
        sys.exit("set-up interrupted; the same command continues it")


if __name__ == "__main__":
    main()
