"""What llama.cpp says it has allocated: the only place where it tells is its log. Pure.

Used by ``llama`` and ``context`` for weights and contexts they have just made. Lines read like
``llama_kv_cache:  CUDA0 KV buffer size =  512.00 MiB`` (llama.cpp src/llama-model.cpp,
src/llama-kv-cache.cpp, src/llama-context.cpp); a build that words them otherwise tells nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from trillama.base.memory import Taken

_BUFFER = re.compile(r"(\S+) +(?:model|KV|RS|compute|output) buffer size = +([0-9.]+) MiB")
MIB = 1 << 20


def taken(lines: Iterable[str]) -> Taken:
    """The sum of all buffers that ``lines`` tell of."""
    host = gpu = 0.0
    for line in lines:
        if found := _BUFFER.search(line):
            if on_host(found[1]):
                host += float(found[2])
            else:
                gpu += float(found[2])
    return Taken(host=int(host * MIB), gpu=int(gpu * MIB))


def on_host(buffer: str) -> bool:
    """Whether a kind of buffer lies in the host's memory, also where GPUs can see it."""
    return buffer.startswith(("CPU", "BLAS", "AMX")) or buffer.endswith("_Host")
