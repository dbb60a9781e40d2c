"""Checkpoints become GGUF files that our own checks accept, or errors that say what is wrong."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.source import ROOT
from tests.support.tiny_bert import VOCABULARY, make_bert
from trillama.base.errors import CorruptModel, TrillamaError, Unsupported
from trillama.models.convert import convert
from trillama.models.convert.checkpoint import Checkpoint
from trillama.models.convert.wordpiece import phantom_spaces
from trillama.models.validation import validate_weights


def test_an_embedder(tmp_path: Path) -> None:
    """Sizes, pooling, length and vocabulary are the checkpoint's."""
    folder = make_bert(tmp_path / "bert")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 40}')
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    module = {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}
    (folder / "modules.json").write_text(json.dumps([module]))
    file = validate_weights(convert(folder, tmp_path / "out.gguf"))

    assert file.architecture == "bert"
    assert (file.hyper("context_length"), file.hyper("pooling_type")) == (40, 2)
    assert file.hyper("attention.causal") is False
    tokens = file.metadata["tokenizer.ggml.tokens"].values  # type: ignore[union-attr]
    assert tokens == [phantom_spaces(token) for token in VOCABULARY]
    assert (tokens[2], tokens[5], tokens[-1]) == ("[CLS]", "▁a", "ing")
    shapes = {tensor.name: tensor.elements for tensor in file.tensors}
    assert shapes["position_embd.weight"] == 40 * 32
    assert not any(name.startswith("cls") for name in shapes)


def test_a_cross_encoder(tmp_path: Path) -> None:
    """A model for classification becomes one that ranks, its head with it."""
    file = validate_weights(convert(make_bert(tmp_path / "b", ranks=True), tmp_path / "o.gguf"))

    assert file.hyper("pooling_type") == 4
    assert {"cls.weight", "cls.output.weight"} <= {tensor.name for tensor in file.tensors}


def test_types(tmp_path: Path) -> None:
    """F16 halves the matrices; what llama.cpp adds up stays F32."""
    folder = make_bert(tmp_path / "bert")
    half = convert(folder, tmp_path / "half.gguf", "F16").stat().st_size
    full = convert(folder, tmp_path / "full.gguf", "F32").stat().st_size

    assert half < 0.7 * full
    with pytest.raises(Unsupported, match="'Q4_0'"):
        convert(folder, tmp_path / "x.gguf", "Q4_0")


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return work


def config(**changes: Any) -> Callable[[Path], None]:
    return edit("config.json", lambda data: json.dumps(json.loads(data) | changes).encode())


def header(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def work(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        found = json.loads(data[8 : 8 + length])
        change(found)
        raw = json.dumps(found).encode()
        return struct.pack("<Q", len(raw)) + raw + data[8 + length :]

    return edit("model.safetensors", work)


WORD = "embeddings.word_embeddings.weight"


@pytest.mark.parametrize(
    ("spoil", "error", "text"),
    [
        (config(architectures=["LlamaForCausalLM"]), Unsupported, "LlamaForCausalLM"),
        (config(architectures=None), Unsupported, "conversion of None"),
        (config(hidden_act="relu"), Unsupported, "'relu'"),
        (config(position_embedding_type="relative_key"), Unsupported, "relative"),
        (config(hidden_size=None), CorruptModel, "does not fit"),
        (config(num_hidden_layers=3), CorruptModel, "16 tensors are missing"),
        (config(vocab_size=10), CorruptModel, "for 10 embeddings"),
        (edit("config.json", lambda data: data[:20]), CorruptModel, "config.json is damaged"),
        (edit("config.json", lambda _: b"[]"), CorruptModel, "is no object"),
        (edit("vocab.txt", lambda _: b""), CorruptModel, "neither tokenizer.json nor"),
        (edit("vocab.txt", lambda data: data.replace(b"[SEP]", b"[XXX]")), CorruptModel, "lacks"),
        (edit("model.safetensors", lambda data: data[:100]), CorruptModel, "longer than it"),
        (edit("model.safetensors", lambda data: data[:-9]), CorruptModel, "is damaged"),
        (edit("model.safetensors", lambda _: b"x"), CorruptModel, "is damaged"),
        (header(lambda h: h[WORD].update(dtype="F8_E4M3")), Unsupported, "F8_E4M3"),
        (header(lambda h: h[WORD].update(shape=[-1, 32])), CorruptModel, "is damaged"),
        (header(lambda h: h[WORD].update(data_offsets=[0, 4])), CorruptModel, "is damaged"),
        (header(lambda h: h.pop(WORD)), CorruptModel, "tensors are missing"),
    ],
)
def test_what_does_not_fit_is_an_error(
    tmp_path: Path, spoil: Callable[[Path], None], error: type[TrillamaError], text: str
) -> None:
    """Named, of our family, and without a file left behind."""
    folder = make_bert(tmp_path / "bert")
    spoil(folder)
    with pytest.raises(error, match=text):
        convert(folder, tmp_path / "o.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["bert"]


def test_bfloat16_is_read(tmp_path: Path) -> None:
    """As the upper half of a float32."""
    folder = make_bert(tmp_path)
    exact = Checkpoint(folder).tensor(WORD)
    raw = (exact.view(np.uint32) >> 16).astype("<u2").tobytes()
    entry = {"dtype": "BF16", "shape": list(exact.shape), "data_offsets": [0, len(raw)]}
    head = json.dumps({WORD: entry}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + raw)

    assert np.abs(Checkpoint(folder).tensor(WORD) - exact).max() < 0.02


def test_the_command(tmp_path: Path) -> None:
    """``python -m trillama.models.convert`` writes the file, or says why not and ends with 1."""
    folder = make_bert(tmp_path / "bert")
    run = [sys.executable, "-m", "trillama.models.convert"]
    good = subprocess.run([*run, folder, tmp_path / "o.gguf"], cwd=ROOT, capture_output=True)
    bad = subprocess.run([*run, tmp_path, tmp_path / "p.gguf"], cwd=ROOT, capture_output=True)

    assert good.returncode == 0
    assert (tmp_path / "o.gguf").exists()
    assert (bad.returncode, b"has no config.json" in bad.stderr) == (1, True)
