"""Random models: what is in the file, and that nothing in it depends on luck."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from bench import make_model
from bench.make_model import SUPPRESSION, ModelShape, count_parameters, write_model
from bench.vocabulary import MIN_SIZE, build_vocabulary

SHAPE = ModelShape(layers=2, dim=64, ffn=96, heads=4, kv_heads=2, vocab=1100, ctx=512)


def written(path: Path, kind: str = "F32", seed: int = 3) -> gguf.GGUFReader:
    write_model(path / "m.gguf", SHAPE, kind, seed)
    return gguf.GGUFReader(path / "m.gguf")


def tensors(reader: gguf.GGUFReader) -> dict[str, gguf.ReaderTensor]:
    return {tensor.name: tensor for tensor in reader.tensors}


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_0"])
def test_every_tensor_has_its_shape_and_type(tmp_path: Path, kind: str) -> None:
    """A reader finds each matrix with the sizes of the shape and in the type asked for."""
    found = tensors(written(tmp_path, kind))

    assert [int(n) for n in found["output.weight"].shape] == [64, 1100]
    assert [int(n) for n in found["blk.1.attn_k.weight"].shape] == [64, 32]
    assert [int(n) for n in found["blk.0.ffn_down.weight"].shape] == [96, 64]
    assert found["blk.0.ffn_down.weight"].tensor_type.name == kind
    assert found["output_norm.weight"].tensor_type.name == "F32"
    assert len(found) == 2 * 9 + 3


def test_the_parameter_count_is_that_of_the_file(tmp_path: Path) -> None:
    """count_parameters says what the file holds."""
    reader = written(tmp_path)

    assert count_parameters(SHAPE) == sum(int(t.n_elements) for t in reader.tensors)


def test_equal_seeds_write_equal_files(tmp_path: Path) -> None:
    """A seed decides every byte, and another seed writes another file."""
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        write_model(file, SHAPE, "Q4_0", seed)

    a, b, c = (file.read_bytes() for file in files)
    assert a == b
    assert a != c


def test_rows_made_in_slabs_keep_their_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the slabs, words and only words are free of the suppression."""
    monkeypatch.setattr(make_model, "SLAB", 64 * 100)
    found = tensors(written(tmp_path))
    vocab = build_vocabulary(1100)

    column = np.array(found["output.weight"].data).reshape(1100, 64)[:, 0]

    free = np.flatnonzero(column == 0)
    assert free.tolist() == list(range(vocab.first_word, vocab.first_special))
    assert set(column.tolist()) == {0.0, -SUPPRESSION}


def test_no_layer_writes_to_the_bias_channel(tmp_path: Path) -> None:
    """Channel 0 leaves the last layer as the embedding made it, even after quantisation."""
    found = tensors(written(tmp_path, "Q4_0"))

    for name in ("blk.0.attn_output.weight", "blk.1.ffn_down.weight"):
        tensor = found[name]
        row = gguf.quants.dequantize(np.array(tensor.data), tensor.tensor_type)[0]
        assert not row.any()
    embedding = found["token_embd.weight"]
    channel = gguf.quants.dequantize(np.array(embedding.data), embedding.tensor_type)[:, 0]
    assert channel.min() > 0.5


def test_the_tokenizer_is_whole(tmp_path: Path) -> None:
    """The file names a byte-level tokenizer, an end token of control type, and a template."""
    reader = written(tmp_path)
    fields = {name: field.contents() for name, field in reader.fields.items()}

    assert fields["tokenizer.ggml.model"] == "gpt2"
    assert len(fields["tokenizer.ggml.tokens"]) == 1100
    assert fields["tokenizer.ggml.tokens"][fields["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    assert fields["tokenizer.ggml.token_type"][-1] == gguf.TokenType.CONTROL
    assert fields["tokenizer.ggml.token_type"][300] == gguf.TokenType.NORMAL
    assert "<|im_start|>" in fields["tokenizer.chat_template"]
    assert fields["llama.context_length"] == 512


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"heads": 5}, "multiple of heads"), ({"ffn": 100}, "multiples of 32")],
)
def test_a_shape_that_cannot_be_is_refused(changes: dict[str, int], words: str) -> None:
    """Sizes that llama.cpp could not load are an error before anything is written."""
    sizes = {"layers": 2, "dim": 64, "ffn": 96, "heads": 4, "kv_heads": 2}

    with pytest.raises(ValueError, match=words):
        ModelShape(**(sizes | {"vocab": MIN_SIZE, "ctx": 512} | changes))
