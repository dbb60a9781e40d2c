"""Large buffers of the host's memory in huge pages.

A token of an answer reads all weights. Where they lie in pages of 4 KiB the processor looks up an
address for every 4 KiB it reads, in a virtual machine through two tables; with pages of 2 MiB that
is over. Linux gives them to memory that asks for them before it is first written (madvise), and
llama.cpp does not ask. But it says in its log which buffer it has allocated, just before it fills
it: weights brought into another order, and caches. A model file that is mapped stays as it is.

Where the system has no such pages, or gives none, nothing changes.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable
from typing import NamedTuple

from .heaps import libc
from .real_use import taken

LEAST = 32 << 20
"""Bytes from which on the C library gives a block a mapping of its own."""
_MADV_HUGEPAGE = 14
"""Linux's mman.h."""
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)\s*(.*)")
"""A line of /proc/self/maps: from, to, rights, offset, device, inode, name."""


class Region(NamedTuple):
    """Addresses from ``begin`` up to ``end``."""

    begin: int
    end: int


def announced(line: str) -> bool:
    """Whether a line of llama.cpp's log tells of a buffer of the host's that is worth it."""
    return taken((line,)).host >= LEAST


def large_regions(maps: Iterable[str]) -> list[Region]:
    """Large memory of the process's own, by the lines of /proc/self/maps; no thread's stack.

    A stack has a page below it that nobody may touch.
    """
    regions: list[Region] = []
    below = ""
    for found in filter(None, map(_MAPPING.match, maps)):
        begin, end, rights, inode, name = found.groups()
        region = Region(int(begin, 16), int(end, 16))
        own = rights == "rw-p" and inode == "0" and not name
        if own and begin != below and region.end - region.begin >= LEAST:
            regions.append(region)
        below = end if rights == "---p" else ""
    return regions


class HugePages:
    """Has what comes to this process's memory from now on in huge pages, when told to look."""

    def __init__(self) -> None:
        self._known = {region.begin for region in _regions()}

    def ask(self) -> None:
        """For all large memory that is new, as far as it is not written yet."""
        for begin, end in _regions():
            if begin not in self._known:
                size = ctypes.c_size_t(end - begin)
                libc.madvise(ctypes.c_void_p(begin), size, _MADV_HUGEPAGE)


def _regions() -> list[Region]:
    try:
        with open("/proc/self/maps") as maps:
            return large_regions(maps)
    except OSError:  # another system
        return []
