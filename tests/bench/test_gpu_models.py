"""Models made as bits: a reader finds what the shape says, and floats of the size asked for."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.gpu import models
from bench.gpu.blocks import FORMATS, random_rows, set_first_column
from bench.gpu.models import plan_slabs, write_model
from bench.gpu.shapes import RECIPES, Recipe
from bench.make_model import SUPPRESSION, ModelShape, count_parameters
from bench.vocabulary import build_vocabulary

SMALL = Recipe(ModelShape(2, 256, 512, 4, 2, 1100, 512), "Q4_K", "Q6_K")


def floats(kind: str, rows: np.ndarray) -> np.ndarray:
    flat = rows.reshape(len(rows), -1)
    return gguf.quants.dequantize(flat, gguf.GGMLQuantizationType[kind])


@pytest.mark.parametrize("kind", list(FORMATS))
def test_weights_have_the_deviation_asked_for(kind: str) -> None:
    """Random codes under the chosen scales are spread like normal weights of that size."""
    values = floats(kind, random_rows(kind, (64, 2048), 0.0156, 3))
    assert values.std() == pytest.approx(0.0156, rel=0.02)
    assert abs(values.mean()) < 0.001
    assert np.isfinite(values).all()


@pytest.mark.parametrize("kind", ["Q8_0", "Q6_K"])
def test_the_first_column_is_set_alone(kind: str) -> None:
    """Element 0 gets its value, the rest of its block nothing, other blocks stay."""
    before = random_rows(kind, (8, 1024), 0.02, 1)
    rows, values = before.copy(), np.linspace(-40, 1, 8).astype(np.float32)
    set_first_column(kind, rows, values)
    found, width = floats(kind, rows), FORMATS[kind].elements
    assert found[:, 0] == pytest.approx(values, rel=1e-3)
    assert not found[:, 1:width].any()
    assert (found[:, width:] == floats(kind, before)[:, width:]).all()


def test_a_file_has_the_tensors_of_its_shape(tmp_path: Path) -> None:
    """gguf's own reader finds every matrix in its place, type and size; norms are 1."""
    write_model(tmp_path / "m.gguf", SMALL, processes=1)
    found = {t.name: t for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert sum(int(t.n_elements) for t in found.values()) == count_parameters(SMALL.shape)
    assert found["blk.1.ffn_down.weight"].tensor_type.name == "Q4_K"
    assert found["output.weight"].tensor_type.name == "Q6_K"
    assert (found["output_norm.weight"].data == 1).all()
    assert (found["blk.0.attn_norm.weight"].data == 1).all()
    embedding = floats("Q8_0", np.asarray(found["token_embd.weight"].data))
    assert embedding[:, 0] == pytest.approx(np.ones(1100), rel=1e-3)
    assert not floats("Q4_K", np.asarray(found["blk.0.attn_output.weight"].data))[0].any()


def test_tokens_that_are_no_words_are_suppressed(tmp_path: Path) -> None:
    """No generation ends by itself: rows of the output that are no words look at the channel."""
    write_model(tmp_path / "m.gguf", SMALL, processes=1)
    found = {t.name: t for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    channel = floats("Q6_K", np.asarray(found["output.weight"].data))[:, 0]
    vocab = build_vocabulary(1100)
    words = slice(vocab.first_word, vocab.first_special)
    assert not channel[words].any()
    assert np.delete(channel, np.arange(1100)[words]) == pytest.approx(-SUPPRESSION, rel=1e-3)


def test_slabs_cover_the_file_without_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs written by many processes never touch each other's bytes."""
    monkeypatch.setattr(models, "SLAB", 20_000)
    slabs, end = plan_slabs(SMALL, 4096)
    at = 4096
    for slab in slabs:
        assert 0 <= slab.offset - at < gguf.GGUF_DEFAULT_ALIGNMENT
        at = slab.offset + slab.rows * models.row_bytes(slab.plan, slab.kind)
    assert 0 <= end - at < gguf.GGUF_DEFAULT_ALIGNMENT


def test_the_large_shapes_are_llamas() -> None:
    """8.0 and 1.2 thousand million parameters, the latter with an output of its own."""
    assert count_parameters(RECIPES["8b"].shape) == pytest.approx(8.03e9, rel=0.01)
    shape = RECIPES["1b"].shape
    assert count_parameters(shape) - shape.vocab * shape.dim == pytest.approx(1.236e9, rel=0.01)
