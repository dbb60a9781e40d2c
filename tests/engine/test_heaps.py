"""What models leave behind can be given back, whichever thread has loaded them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trillama.engine import heaps

THREADS_ALLOCATE = """
import ctypes, sys, threading
from pathlib import Path
from trillama.engine.heaps import libc, use_one_heap

if sys.argv[1] == "one":
    use_one_heap()
libc.malloc.restype = ctypes.c_void_p
blocks = []
threads = [threading.Thread(target=lambda: blocks.append(libc.malloc(4096))) for _ in range(4)]
for thread in threads:
    thread.start()
    thread.join()
(heap,) = [line for line in Path("/proc/self/maps").read_text().splitlines() if "[heap]" in line]
start, end = (int(side, 16) for side in heap.split()[0].split("-"))
print(sum(start <= block < end for block in blocks))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or heaps._malloc_trim is None, reason="glibc's heaps are meant"
)
@pytest.mark.parametrize(("how", "in_the_first"), [("one", "4"), ("many", "0")])
def test_all_threads_share_one_heap(how: str, in_the_first: str) -> None:
    """After the start of a server; without it each thread begins one that is never given back."""
    command = [sys.executable, "-c", THREADS_ALLOCATE, how]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == in_the_first
