"""Checks that llama.cpp computes from the exported file what PyTorch computes from the checkpoint.

Run as `python -m training.compare CHECKPOINT`. Exports F32, decodes a few prompts with F32
caches, and prints the largest difference between the logits; exit status 1 when it is not small.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("GGML_NO_BACKTRACE", "1")

import llama_cpp
import numpy as np
import torch

from training.export import export, load

LIMIT = 1e-3  # logits are of order 10; both sides sum in float32, in different orders
PROMPTS = (
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "Once upon a time, there was a little fox called Nora.",
    "<|fim_prefix|>def add(a, b):\n<|fim_suffix|>\n<|fim_middle|>",
    "12 + 35 = 47\n" * 40,
)


def main() -> int:
    model = load(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f32.gguf"
        export(model, path, f32=True)
        llama = llama_cpp.Llama(
            str(path), n_ctx=2048, logits_all=True, type_k=0, type_v=0, n_threads=1, verbose=False
        )
        worst = 0.0
        for prompt in PROMPTS:
            tokens = llama.tokenize(prompt.encode(), add_bos=False, special=True)
            llama.reset()
            llama.eval(tokens)
            with torch.no_grad():
                ours = model.logits(model.hidden(torch.tensor([tokens])))[0].numpy()
            gap = float(np.abs(ours - llama.scores[: len(tokens)]).max())
            print(f"{len(tokens)} tokens: largest difference {gap:.2e}")
            worst = max(worst, gap)
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
