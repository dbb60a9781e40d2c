"""``trillama doctor``: can this machine answer, and if not, what cures it?

Decodes with the bundled model in a child process, because a badly built llama.cpp takes the whole
process with it, and says in words what it found. Changes nothing.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trillama import __version__
from trillama.base.address import Address
from trillama.base.errors import EngineDied, ModelLoadError, TrillamaError
from trillama.base.settings import Settings
from trillama.engine.probe import probe_in_child
from trillama.models.bundled import bundled_file

from .client import Client, ServerDown
from .console import human_bytes

PATIENCE = 5.0
"""Seconds for a server to say its version."""
NOTABLE = ("avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "neon")
AMX_CURE = (
    "llama.cpp died at its first computation. gcc before 14 drops instructions that AMX "
    "needs; build again with CFLAGS and CXXFLAGS set to '-mno-amx-tile -mno-amx-int8 "
    "-mno-amx-bf16' (make clean run does this by itself where it applies)."
)
REBUILD_CURE = (
    "llama.cpp died at its first computation: it was probably built for another CPU. "
    "Build it again on this machine (make clean run)."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: a good sign or a trouble with its cure."""

    good: bool
    subject: str
    text: str


def examine(settings: Settings) -> bool:
    """Print the report; True when nothing stands in the way of an answer."""
    findings = []
    for finding in _findings(settings):
        findings.append(finding)
        mark = "ok  " if finding.good else "FAIL"
        print(f"{mark}  {finding.subject:<9}{finding.text}", flush=True)
    return all(finding.good for finding in findings)


def _findings(settings: Settings) -> Iterator[Finding]:
    features = cpu_features()
    python = f"trillama {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield Finding(True, "program", python)
    yield Finding(True, "cpu", f"{_cores()} cores, {' '.join(features) or 'no notable features'}")
    yield Finding(True, "memory", _memory())
    yield examine_store(Path(settings.models))
    yield examine_port(settings.address)
    yield from _engine(features)


def cpu_features() -> list[str]:
    """The features that decide how llama.cpp computes, as Linux names them; [] elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return []
    lines = text.splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    present = set(flags.partition(":")[2].split())
    return [name for name in NOTABLE if name in present]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> str:
    page = os.sysconf("SC_PAGE_SIZE")
    total = human_bytes(page * os.sysconf("SC_PHYS_PAGES"))
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return total
    return f"{human_bytes(page * os.sysconf('SC_AVPHYS_PAGES'))} free of {total}"


def examine_store(root: Path) -> Finding:
    """Whether models can be kept in ``root``, which need not be there yet."""
    cure = "set OLLAMA_MODELS to a folder"
    try:
        there = next(path for path in (root, *root.parents) if path.exists())
        if not there.is_dir():
            return Finding(False, "store", f"{there} is no folder; {cure}")
        free = human_bytes(shutil.disk_usage(there).free)
    except OSError as error:
        return Finding(False, "store", f"{root}: {error.strerror}; {cure} that you may read")
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return Finding(False, "store", f"{root} cannot be written; {cure}")
    return Finding(True, "store", f"{root}{'' if there == root else ' (new)'}, {free} free")


def examine_port(address: Address) -> Finding:
    """Who answers at ``address``, or whether a server could listen there."""
    from trillama.app import PortInUse, listen

    wrong = ""
    try:
        version = Client(address, PATIENCE).call("GET", "/api/version")["version"]
        return Finding(True, "port", f"a server of version {version} answers at {address.url}")
    except ServerDown:
        pass
    except (TrillamaError, OSError, ValueError, TypeError, KeyError) as error:
        wrong = str(error)
    try:
        listen(address).close()
    except PortInUse as error:
        other = f"something else answers at {address.url}: {wrong}"
        return Finding(False, "port", other if wrong else error.message)
    except TrillamaError as error:
        return Finding(False, "port", f"{error}; set OLLAMA_HOST to another address")
    return Finding(True, "port", f"{address.netloc} is free")


def _engine(features: list[str]) -> Iterator[Finding]:
    weights = bundled_file()
    if weights is None:
        yield Finding(False, "engine", "the bundled model is missing from this installation")
        return
    try:
        report = probe_in_child(str(weights))
    except ModelLoadError as error:
        yield Finding(False, "engine", f"{error}. {_cure(error, features)}")
        return
    yield Finding(True, "library", str(report["library"]))
    yield Finding(True, "devices", ", ".join(report["devices"]))
    text = f"decodes with the bundled model, which loads in {report['load_ms']:.0f} ms"
    yield Finding(True, "engine", text)


def _cure(error: ModelLoadError, features: list[str]) -> str:
    if not isinstance(error, EngineDied):
        return "Install trillama again (make clean run)."
    return AMX_CURE if any(name.startswith("amx") for name in features) else REBUILD_CURE
