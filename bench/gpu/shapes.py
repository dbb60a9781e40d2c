"""The models of the GPU tables: Llama 3's shapes, and a toy that proves the scripts on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

from bench.make_model import ModelShape


@dataclass(frozen=True)
class Recipe:
    """A shape and the block types its matrices are stored in; `context` is the trained one."""

    shape: ModelShape
    kind: str
    output_kind: str


LLAMA_VOCABULARY = 128_256

_8B = ModelShape(32, 4096, 14_336, 32, 8, LLAMA_VOCABULARY, 131_072)
RECIPES = {
    "8b": Recipe(_8B, "Q8_0", "Q8_0"),
    "8b-q4": Recipe(_8B, "Q4_K", "Q6_K"),
    "8b-f16": Recipe(_8B, "F16", "Q8_0"),
    "1b": Recipe(
        ModelShape(16, 2048, 8192, 32, 8, LLAMA_VOCABULARY, 131_072), "Q8_0", "Q8_0"
    ),
    "toy": Recipe(ModelShape(2, 256, 512, 8, 2, 2048, 131_072), "Q4_K", "Q6_K"),
}  # fmt: skip
