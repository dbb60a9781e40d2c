"""A BERT of a few kilobytes with random weights, laid out as Hugging Face does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

WIDTH, LAYERS, HEADS, HIDDEN, POSITIONS = 32, 2, 4, 64, 64
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,?!"
VOCABULARY = [*SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS), "the", "river", "##ing"]


def tensors(seed: int, *, ranks: bool) -> dict[str, np.ndarray]:
    """Weights by their names in a checkpoint."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (random.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    def vector(size: int, around: float = 0.0) -> np.ndarray:
        return (around + 0.1 * random.standard_normal(size)).astype(np.float32)

    found: dict[str, np.ndarray] = {}
    for name, rows in (("word", len(VOCABULARY)), ("position", POSITIONS), ("token_type", 2)):
        found[f"embeddings.{name}_embeddings.weight"] = matrix(rows, WIDTH)
    norms = ["embeddings.LayerNorm"]
    dense: list[tuple[str, int, int]] = []
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        dense += [
            (f"{at}.attention.self.{part}", WIDTH, WIDTH) for part in ("query", "key", "value")
        ]
        dense += [(f"{at}.attention.output.dense", WIDTH, WIDTH)]
        dense += [
            (f"{at}.intermediate.dense", HIDDEN, WIDTH),
            (f"{at}.output.dense", WIDTH, HIDDEN),
        ]
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    dense += [("pooler.dense", WIDTH, WIDTH)]
    for name, rows, columns in dense:
        found |= {f"{name}.weight": matrix(rows, columns), f"{name}.bias": vector(rows)}
    for name in norms:
        found |= {f"{name}.weight": vector(WIDTH, 1.0), f"{name}.bias": vector(WIDTH)}
    if not ranks:
        return found
    head = {"classifier.weight": 4 * matrix(1, WIDTH), "classifier.bias": vector(1)}
    return {f"bert.{name}": values for name, values in found.items()} | head


def make_bert(folder: Path, *, ranks: bool = False, seed: int = 0, **changes: Any) -> Path:
    """Write a checkpoint into ``folder``: an embedder, or a cross-encoder that ranks.

    Args:
        changes: entries of config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["BertForSequenceClassification" if ranks else "BertModel"],
        "hidden_act": "gelu",
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "type_vocab_size": 2,
        "vocab_size": len(VOCABULARY),
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    save_file(tensors(seed, ranks=ranks), folder / "model.safetensors")
    return folder
