"""The bundled model file: small, complete, and tokenising as it was trained to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import trillama
from training.corpus import mixture

gguf = pytest.importorskip("gguf", reason="the gguf package (extra dev) reads the model file")

MODEL = Path(trillama.__file__).parent / "data" / "tiny.gguf"
TRAINING = Path(mixture.__file__).parents[1]


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    reader = gguf.GGUFReader(MODEL)
    return {key: field.contents() for key, field in reader.fields.items()}


def test_file_is_small() -> None:
    """The model may travel with the package."""
    assert MODEL.stat().st_size <= 8 * 1024 * 1024


def test_metadata_is_complete(metadata: dict[str, Any]) -> None:
    """Everything a server shows or needs is in the file."""
    expected = {
        "general.architecture": "qwen3",
        "general.name": "Tiny",
        "general.license": "mit",
        "general.size_label": "4M",
        "general.file_type": 7,
        "general.languages": ["en"],
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.add_bos_token": False,
        "qwen3.context_length": 2048,
        "qwen3.embedding_length": 256,
        "qwen3.block_count": 6,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 64,
        "qwen3.vocab_size": 2560,
    }
    assert {key: metadata.get(key) for key in expected} == expected
    template = (TRAINING / "chat_template.jinja").read_text().rstrip("\n")
    assert metadata["tokenizer.chat_template"] == template


def test_special_tokens_have_their_types(metadata: dict[str, Any]) -> None:
    """ChatML marks are control tokens; marks of thoughts and tools can be seen in the text."""
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    kind = dict(zip(tokens, types, strict=True))
    for name in ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|fim_middle|>"):
        assert kind[name] == gguf.TokenType.CONTROL
    for name in ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>"):
        assert kind[name] == gguf.TokenType.USER_DEFINED
    ids = {name: number for number, name in enumerate(tokens)}
    named = {
        "eos": "<|im_end|>",
        "eot": "<|im_end|>",
        "fim_pre": "<|fim_prefix|>",
        "fim_suf": "<|fim_suffix|>",
        "fim_mid": "<|fim_middle|>",
    }
    for key, name in named.items():
        assert metadata[f"tokenizer.ggml.{key}_token_id"] == ids[name]


def test_matrices_are_q8_and_norms_are_f32() -> None:
    """Weights are stored as the file type says."""
    for tensor in gguf.GGUFReader(MODEL).tensors:
        kind = (
            gguf.GGMLQuantizationType.F32
            if "norm" in tensor.name
            else (gguf.GGMLQuantizationType.Q8_0)
        )
        assert tensor.tensor_type == kind, tensor.name


def test_vocabulary_splits_text_as_in_training() -> None:
    """The tokenizer kept beside the training code is the one in the file, merges included."""
    tokenizers = pytest.importorskip("tokenizers", reason="comes with the extra train")
    tokenizer = tokenizers.Tokenizer.from_file(str(TRAINING / "tokenizer.json"))
    fields = gguf.GGUFReader(MODEL).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    assert [tokenizer.id_to_token(i) for i in range(len(tokens))] == tokens
    text = "Repeat: QX-7731, naïve 日本\n\n\tx = 1"
    encoding = tokenizer.encode(text)
    assert tokenizer.decode(encoding.ids, skip_special_tokens=False) == text
    assert encoding.tokens[-1] == "1"
