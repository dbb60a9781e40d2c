"""What can compute here: the library's devices, and how many CPU threads are worth starting."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from .base import Device
from .library import lib, start

_KINDS = {0: "cpu", 1: "gpu", 2: "igpu", 3: "accelerator", 4: "meta"}
"""enum ggml_backend_dev_type of ggml-backend.h."""
MOST_SAMPLING_THREADS = 8
"""Beyond this the shared memory bus is the limit, not the cores."""
_CPU_FOLDER = Path("/sys/devices/system/cpu")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_MEMORY = Path("/proc/meminfo")
_MEMORY_LIMIT, _MEMORY_USED = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory.current"),
)
SHARE = 2
"""Streams may take one part in so many of what is free."""


def _function(name: str, result: Any, *arguments: Any) -> Any:
    function = lib._lib[f"ggml_backend_dev_{name}"]
    function.restype, function.argtypes = result, arguments
    return function


_count = _function("count", ctypes.c_size_t)
_get = _function("get", ctypes.c_void_p, ctypes.c_size_t)
_name = _function("name", ctypes.c_char_p, ctypes.c_void_p)
_description = _function("description", ctypes.c_char_p, ctypes.c_void_p)
_type = _function("type", ctypes.c_int, ctypes.c_void_p)
_SIZES = [ctypes.POINTER(ctypes.c_size_t)] * 2
_memory = _function("memory", None, ctypes.c_void_p, *_SIZES)


def devices() -> list[Device]:
    """Devices in the library's order, the CPU included; memory in bytes.

    Asking a CUDA device for its memory creates a context on it, which costs some of it.
    """
    start()
    return [_describe(_get(index)) for index in range(_count())]


def gpu_count() -> int:
    """Devices that weights can be offloaded to."""
    start()
    return sum(_KINDS.get(_type(_get(index))) in ("gpu", "igpu") for index in range(_count()))


def room_for_streams(*, on_cpu: bool) -> int:
    """Bytes a KV cache of streams may take where nobody says."""
    if on_cpu:
        return _available() // SHARE
    return sum(d.free for d in devices() if d.kind in ("gpu", "igpu")) // SHARE


def _available() -> int:
    """Bytes of memory to be had without swapping, by the system and by a container's limit."""
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    try:
        left = int(_MEMORY_LIMIT.read_text()) - int(_MEMORY_USED.read_text())
    except (OSError, ValueError):  # no limit reads as "max"
        left = free
    return max(0, min(free, left))


def _describe(pointer: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _memory(pointer, ctypes.byref(free), ctypes.byref(total))
    kind = _KINDS.get(_type(pointer), "unknown")
    return Device(
        name=(_name(pointer) or b"").decode("utf-8", "replace"),
        description=(_description(pointer) or b"").decode("utf-8", "replace"),
        kind=kind,
        free=_available() if kind == "cpu" else free.value,
        total=total.value,
    )


def physical_cores() -> int:
    """Cores this process may really use: affinity and a container's quota counted, twins once.

    llama.cpp's threads spin at barriers, so one thread more than there are cores costs more than
    it brings.
    """
    allowed = _allowed_cpus()
    cores = len({_siblings(cpu) for cpu in allowed})
    return max(1, min(cores, _quota()))


def sampling_threads() -> int:
    """Threads worth sampling with: where the CPU computes too, llama.cpp's own threads keep
    spinning for a while after a decode, so there is no core to spare."""
    return max(1, min(MOST_SAMPLING_THREADS, physical_cores() // 2)) if gpu_count() else 1


def _allowed_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _siblings(cpu: int) -> str:
    """A name for the core a CPU belongs to; the CPU itself where the system does not tell."""
    try:
        return (_CPU_FOLDER / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota() -> int:
    """CPUs a cgroup (v2) grants, rounded up; many when there is no limit."""
    try:
        granted, period = _CPU_QUOTA.read_text().split()
        return -(-int(granted) // int(period))
    except (OSError, ValueError):
        return 1 << 16
