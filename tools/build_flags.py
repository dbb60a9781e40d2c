"""Which compiler flags llama.cpp needs on this machine, and why.

llama.cpp is compiled on the machine it runs on, for exactly its processor. Most machines need no
help. Two do:

* A processor with AMX and a gcc whose ``_tile_loadconfig`` is wrong. gcc 11 to 13.2 declare that
  the instruction reads 8 bytes where it reads 64, so the optimiser drops the stores to the other
  56 and the first decode dies with an illegal instruction. (gcc bug 114098, visible in gcc's own
  amxtileintrin.h.) Repaired point releases of 11, 12 and 13 exist, but distributions repair and
  number as they like, so every gcc before 14 is taken to be faulty: a wrong "faulty" costs some
  prompt speed, a wrong "sound" costs the server. gcc before 11 knows neither AMX nor the flags,
  and clang models the instruction itself.
* A build for NVIDIA GPUs, asked for by ``CUDA=1``.

Run as a program it prints what it found and what it would set.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

AMX_FEATURES = ("amx_tile", "amx_int8", "amx_bf16")
AMX_OFF = ("-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16")
FAULTY_GCC = range(11, 14)
CPUINFO = Path("/proc/cpuinfo")
DEFAULT_NVCC = Path("/usr/local/cuda/bin/nvcc")


class Unbuildable(Exception):
    """This machine cannot build what was asked for; the text says what is missing."""


@dataclass(frozen=True)
class Compiler:
    """One compiler as its ``--version`` describes it; kind is "gcc", "clang" or "other"."""

    command: str
    kind: str
    major: int
    banner: str


@dataclass(frozen=True)
class Machine:
    """What the flags depend on."""

    compilers: tuple[Compiler, ...]
    cpu_features: frozenset[str]
    cpu_name: str
    cuda_compiler: str | None = None  # banner of nvcc, when CUDA was asked for
    cuda_path: str | None = None


@dataclass(frozen=True)
class Flags:
    """What is added to the environment of the build, with one sentence for each reason."""

    compile: tuple[str, ...] = ()  # for C and C++ alike
    cmake: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def parse_compiler(command: str, banner: str) -> Compiler:
    """Read the text of ``command --version``."""
    first = banner.partition("\n")[0]
    if "clang" in banner.lower():
        kind = "clang"
    elif "Free Software Foundation" in banner or re.search(r"\b(gcc|g\+\+)\b", first.lower()):
        kind = "gcc"
    else:
        kind = "other"
    bare = re.sub(r"\([^)]*\)", " ", first)  # "(Debian 12.2.0-14)" is the package, not the compiler
    found = re.search(r"(\d+)\.\d+", bare)
    return Compiler(command, kind, int(found[1]) if found else 0, first.strip())


def parse_cpuinfo(text: str) -> tuple[str, frozenset[str]]:
    """The model name and the feature words of the first processor in /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    features = fields.get("flags") or fields.get("Features") or ""  # x86 or ARM
    name = fields.get("model name") or fields.get("CPU part") or ""
    return name, frozenset(features.split())


def choose(machine: Machine, given_cmake: str = "") -> Flags:
    """The flags for a machine; ``given_cmake`` is what the user already passes to CMake."""
    compile_flags: tuple[str, ...] = ()
    cmake: list[str] = []
    reasons: list[str] = []
    faulty = [c for c in machine.compilers if c.kind == "gcc" and c.major in FAULTY_GCC]
    if faulty and machine.cpu_features.intersection(AMX_FEATURES):
        compile_flags = AMX_OFF
        reasons.append(f"AMX is left out: gcc {faulty[0].major} miscompiles it (gcc bug 114098)")
    if machine.cuda_compiler:
        cmake.append("-DGGML_CUDA=on")
        if "CMAKE_CUDA_ARCHITECTURES" not in given_cmake:
            cmake.append("-DCMAKE_CUDA_ARCHITECTURES=native")
        if machine.cuda_path and "CMAKE_CUDA_COMPILER" not in given_cmake:
            cmake.append(f"-DCMAKE_CUDA_COMPILER={machine.cuda_path}")
        reasons.append("built for the NVIDIA GPUs of this machine (CUDA=1)")
    return Flags(compile_flags, tuple(cmake), tuple(reasons))


def environment(flags: Flags, env: Mapping[str, str]) -> dict[str, str]:
    """``env`` with the flags in it. What the user set comes later on the line and so wins."""
    merged = dict(env)
    for name, ours in (
        ("CFLAGS", flags.compile),
        ("CXXFLAGS", flags.compile),
        ("CMAKE_ARGS", flags.cmake),
    ):
        words = [*ours, env.get(name, "")]
        if any(words):
            merged[name] = " ".join(filter(None, words))
    return merged


def inspect(env: Mapping[str, str], *, cuda: bool) -> Machine:
    """Look at this machine. Raises Unbuildable when a compiler is missing."""
    compilers = tuple(
        _compiler(env, variable, names)
        for variable, names in (("CC", ("cc", "gcc", "clang")), ("CXX", ("c++", "g++", "clang++")))
    )
    name, features = _processor()
    path = _nvcc(env) if cuda else None
    return Machine(compilers, features, name, _version_text(path) if path else None, path)


def explain(machine: Machine, flags: Flags) -> Iterable[str]:
    """Lines for a person."""
    yield f"compiler   {', '.join(dict.fromkeys(c.banner for c in machine.compilers))}"
    yield f"processor  {machine.cpu_name or 'unknown'}"
    for reason in flags.reasons or ("no special flags are needed",):
        yield f"flags      {reason}"


def _compiler(env: Mapping[str, str], variable: str, names: Iterable[str]) -> Compiler:
    wanted = env.get(variable, "").split()
    command = wanted[0] if wanted else next(filter(shutil.which, names), None)
    if not command or not shutil.which(command):
        raise Unbuildable(f"no compiler found for {variable}; on Debian: apt install g++")
    return parse_compiler(command, _version_text(command))


def _processor() -> tuple[str, frozenset[str]]:
    if CPUINFO.exists():
        return parse_cpuinfo(CPUINFO.read_text(errors="replace"))
    if platform.system() == "Darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string"), frozenset()
    return platform.processor() or platform.machine(), frozenset()


def _nvcc(env: Mapping[str, str]) -> str:
    found = env.get("CUDACXX") or shutil.which("nvcc")
    if not found and DEFAULT_NVCC.exists():
        found = str(DEFAULT_NVCC)
    if not found:
        raise Unbuildable("CUDA=1 needs nvcc: install the CUDA toolkit or set CUDACXX")
    return found


def _version_text(command: str) -> str:
    return _output(command, "--version")


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unbuildable(f"{' '.join(command)} failed: {error}") from error
    return done.stdout.strip()


def main() -> None:
    """Print what this machine would be built with."""
    machine = inspect(os.environ, cuda=os.environ.get("CUDA") == "1")
    flags = choose(machine, os.environ.get("CMAKE_ARGS", ""))
    merged = environment(flags, os.environ)
    for line in explain(machine, flags):
        print(line)
    for name in ("CFLAGS", "CXXFLAGS", "CMAKE_ARGS"):
        print(f"{name}={merged.get(name, '')!r}")


if __name__ == "__main__":
    main()
