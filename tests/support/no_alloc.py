"""What llama.cpp says it would allocate for a model and a context, without allocating it."""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from pathlib import Path

from trillama.engine.base import ContextParams, LoadParams
from trillama.engine.library import lib, start
from trillama.engine.params import context_params, model_params

_SIZE = re.compile(r"(kv_cache: size|recurrent: size|compute buffer size|output buffer size)")
_MIB = re.compile(r"size = +([0-9.]+) MiB")


@dataclass
class Allocations:
    """Bytes; ``buffers`` are for computing and for logits."""

    weights: int
    cache: int = 0
    buffers: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.buffers


def allocations(path: Path, params: ContextParams) -> Allocations:
    """Sizes from the library's own log, which is where it tells them."""
    start()
    lines: list[str] = []
    collect = lib.llama_log_callback(
        lambda level, text, user: lines.append(text.decode("utf-8", "replace"))
    )
    how = model_params(LoadParams(use_mmap=False), None)
    how.no_alloc = True
    lib.llama_log_set(collect, ctypes.c_void_p(None))
    try:
        model = lib.llama_model_load_from_file(os.fsencode(path), how)
        assert model, "".join(lines[-5:])
        stop = (ctypes.c_uint8 * 2)(0, 0)
        context = lib.llama_init_from_model(model, context_params(params, ctypes.addressof(stop)))
        assert context, "".join(lines[-5:])
        found = Allocations(lib.llama_model_size(model))
        lib.llama_free(context)
        lib.llama_model_free(model)
    finally:
        lib.llama_log_set(_SILENT, ctypes.c_void_p(None))
    for line in lines:
        kind, size = _SIZE.search(line), _MIB.search(line)
        if kind and size:
            bytes_ = int(float(size[1]) * (1 << 20))
            if "buffer" in kind[0]:
                found.buffers += bytes_
            else:
                found.cache += bytes_
    return found


_SILENT = lib.llama_log_callback(lambda level, text, user: None)
