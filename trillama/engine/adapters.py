"""The LoRA adapters of one loaded model, as llama.cpp holds them.

The library keeps all of them in a list of the model, frees them with it, and walks that list
wherever a context lays out its graph: as it is opened, and in the first decode after its own set
has changed. So that list grows, and those two happen, under one lock.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import AbstractContextManager
from typing import Any

from trillama.base.adapters import Adapters
from trillama.base.errors import EngineError, ModelLoadError

from .library import LogTail, lib


class LoadedAdapters:
    """Adapters by the paths of their files.

    Args:
        lock: the model's own, reentrant.

    Attributes:
        lock: to be held while a context lays out its graph.
    """

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self.lock = lock
        self._pointers: dict[str, Any] = {}

    def load(self, model: int, path: str) -> None:
        """Read an adapter that was checked against the weights; known ones cost nothing.

        Raises:
            ModelLoadError: the file is missing, or does not belong to these weights.
        """
        if "\0" in path or not os.path.isfile(path):
            raise ModelLoadError(f"no such adapter file: {path!r}")
        with self.lock:
            if path in self._pointers:
                return
            with LogTail() as log:
                pointer = lib.llama_adapter_lora_init(model, os.fsencode(path))
            if not pointer:
                raise log.failure(f"cannot load the adapter {os.path.basename(path)}")
            self._pointers[path] = pointer

    def apply(self, context: int, adapters: Adapters) -> None:
        """Have a context compute with these from its next call on, and no others.

        Raises:
            EngineError: one was never loaded, or the library refused.
        """
        if missing := [one.path for one in adapters if one.path not in self._pointers]:
            raise EngineError(f"the adapter {os.path.basename(missing[0])} is not loaded")
        many = len(adapters)
        pointers = (lib.llama_adapter_lora_p_ctypes * many)(
            *(self._pointers[one.path] for one in adapters)
        )
        scales = (ctypes.c_float * many)(*(one.scale for one in adapters))
        if lib.llama_set_adapters_lora(context, pointers, many, scales):
            raise EngineError("llama.cpp refused a set of adapters")
