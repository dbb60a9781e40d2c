"""Does the llama.cpp that was just compiled run on this processor?

Loads the library and, where the bundled model is there, decodes one prompt with it: a wrong flag
shows itself at the first matrix product, not before. Run in a process of its own, because a bad
build does not raise, it kills.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from pathlib import Path
from typing import Any

PROMPT_TOKENS = 64  # wide enough for the matrix-matrix kernels, which are the ones with AMX


def main(root: Path) -> int:
    """0 when llama.cpp loads and, given a model, decodes to finite numbers."""
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    from llama_cpp import llama_cpp as lib  # after the environment is set

    lib.llama_log_set(ctypes.cast(lib._lib.llama_time_us, lib.llama_log_callback), None)
    lib.llama_backend_init()
    model = next(iter(sorted((root / "trillama" / "data").rglob("*.gguf"))), None)
    if model is None:
        print("llama.cpp loads")
        return 0
    if not decodes(lib, model):
        print("llama.cpp decodes to nonsense")
        return 1
    print(f"llama.cpp runs ({model.name})")
    return 0


def decodes(lib: Any, path: Path) -> bool:
    """Decode one batch with the model at ``path`` and look at its first logits."""
    model = lib.llama_model_load_from_file(os.fsencode(path), lib.llama_model_default_params())
    if not model:
        return False
    params = lib.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 256, 1, 1
    context = lib.llama_init_from_model(model, params)
    tokens = (lib.llama_token * PROMPT_TOKENS)(*range(PROMPT_TOKENS))
    if lib.llama_decode(context, lib.llama_batch_get_one(tokens, PROMPT_TOKENS)) != 0:
        return False
    logits = lib.llama_get_logits_ith(context, -1)
    return all(math.isfinite(logits[i]) for i in range(PROMPT_TOKENS))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
