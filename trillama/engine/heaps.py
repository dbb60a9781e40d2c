"""The C library's memory: one heap for all threads, and giving back what was freed.

glibc begins a heap of its own for a thread that meets another in ``malloc``. ``malloc_trim`` gives
back free pages inside of such a heap but never those at its end, so whatever the largest model left
there stayed resident, and each load was served by one heap or the other as chance had it. With one
heap it is all given back. Threads lose nothing by it: small blocks are taken from a store of each
thread's own, and tensors and caches lie outside of heaps.

Where the C library knows none of this, nothing is done.
"""

from __future__ import annotations

import ctypes

libc = ctypes.CDLL(None)

_malloc_trim = getattr(libc, "malloc_trim", None)
_M_ARENA_MAX = -8
"""glibc's malloc.h."""


def use_one_heap() -> None:
    """Have all threads share the first heap; for the start of a process, before its threads."""
    if _malloc_trim is not None:
        libc.mallopt(_M_ARENA_MAX, 1)


def trim() -> None:
    """Have the C library give freed memory back to the system."""
    if _malloc_trim is not None:
        _malloc_trim(0)
