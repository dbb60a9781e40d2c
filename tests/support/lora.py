"""Writes LoRA adapters with random weights for any GGUF model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from trillama.models.gguf import GgufFile, TensorInfo, read_gguf

TARGETS = ("attn_q.weight", "attn_v.weight", "ffn_down.weight")


def make_lora(path: Path, base: Path, *, seed: int = 0, size: float = 0.3, rank: int = 4) -> Path:
    """Write an adapter for the model at ``base`` to ``path`` and return it.

    Args:
        size: how large its products are; the larger, the more the model says something else.
    """
    weights = read_gguf(base)
    random = np.random.default_rng(seed)
    writer = _header(path, weights, alpha=float(rank))
    for tensor in weights.tensors:
        if tensor.name.endswith(TARGETS):
            _add_pair(writer, tensor, rank, size, random)
    _write(writer)
    return path


def _header(path: Path, weights: GgufFile, alpha: float) -> GGUFWriter:
    writer = GGUFWriter(path, weights.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    return writer


def _add_pair(
    writer: GGUFWriter, tensor: TensorInfo, rank: int, size: float, random: np.random.Generator
) -> None:
    columns, rows = tensor.shape
    down = random.standard_normal((rank, columns), np.float32) / np.sqrt(columns)
    up = random.standard_normal((rows, rank), np.float32) * size
    writer.add_tensor(f"{tensor.name}.lora_a", down.astype(np.float32))
    writer.add_tensor(f"{tensor.name}.lora_b", up.astype(np.float32))


def _write(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
