"""What llama.cpp would abort on is refused before it sees the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.gguf_bytes import array, header, llama, small_model, text
from trillama.base.errors import CorruptModel, ModelLoadError, NotFound
from trillama.models.validation import validate_weights

EXPERTS = {"llama__expert_count": 8, "llama__expert_used_count": 2}


def check(folder: Path, changes: dict[str, Any]) -> None:
    """Validate the small model with these changes."""
    path = folder / "model.gguf"
    path.write_bytes(small_model(**changes))
    validate_weights(path)


SOUND: dict[str, dict[str, Any]] = {
    "as it is": {},
    "heads per layer": {"llama__attention__head_count_kv": [2, 4]},
    "layer without attention": {"llama__attention__head_count_kv": [0, 4]},
    "no key-value heads named": {"llama__attention__head_count_kv": None},
    "experts": EXPERTS,
    "grouped experts": EXPERTS
    | {"llama__expert_group_count": 4, "llama__expert_group_used_count": 2},
    "rope": {"llama__rope__scaling__type": "yarn", "llama__rope__dimension_count": 16},
    "scores": {"tokenizer__ggml__scores": [0.0] * 5},
    "empty token": {"tokenizer__ggml__tokens": ["a", "", "b", "c", "d"]},
    "unequal heads": {
        "general__architecture": "deepseek2",
        "deepseek2__block_count": 2,
        "deepseek2__context_length": 64,
        "deepseek2__embedding_length": 64,
        "deepseek2__attention__head_count": 4,
        "deepseek2__attention__key_length": 24,
        "deepseek2__attention__value_length": 16,
    },
}

DEADLY: dict[str, tuple[dict[str, Any], str]] = {
    "no architecture": ({"general__architecture": None}, "names no architecture"),
    "architecture is a number": ({"general__architecture": 1}, "names no architecture"),
    "no layers": ({"llama__block_count": 0}, "block_count is 0"),
    "layers missing": ({"llama__block_count": None}, "block_count is missing"),
    "layers as text": ({"llama__block_count": "2"}, "block_count is '2'"),
    "layers true": ({"llama__block_count": True}, "block_count is True"),
    "too many layers": ({"llama__block_count": 513}, "expected 1 to 512"),
    "more predicting layers": ({"llama__nextn_predict_layers": 3}, "nextn_predict_layers"),
    "no context": ({"llama__context_length": 0}, "context_length"),
    "no width": ({"llama__embedding_length": 0}, "embedding_length"),
    "short array": ({"llama__attention__head_count": [4]}, "each layer"),
    "array of text": ({"llama__attention__head_count": ["4", "4"]}, "each layer"),
    "negative heads": ({"llama__attention__head_count_kv": [-2, 4]}, "outside"),
    "heads not shared": ({"llama__attention__head_count_kv": 3}, "cannot share"),
    "heads thinner than one": ({"llama__attention__head_count": 128}, "more attention heads"),
    "unequal heads": (
        {"llama__attention__key_length": 24, "llama__attention__value_length": 16},
        "heads of keys",
    ),
    "too many experts": (EXPERTS | {"llama__expert_count": 2000}, "expert_count"),
    "more used than there": (EXPERTS | {"llama__expert_used_count": 9}, "impossible"),
    "none used": ({"llama__expert_count": 8}, "impossible"),
    "used without any": ({"llama__expert_used_count": 2}, "impossible"),
    "groups without experts": ({"llama__expert_group_count": 2}, "impossible"),
    "groups do not divide": (EXPERTS | {"llama__expert_group_count": 3}, "impossible"),
    "as many groups": (EXPERTS | {"llama__expert_group_count": 8}, "impossible"),
    "no group used": (EXPERTS | {"llama__expert_group_count": 4}, "impossible"),
    "rope scaling": ({"llama__rope__scaling__type": "ntk"}, "rope scaling"),
    "odd rope": ({"llama__rope__dimension_count": 15}, "odd"),
    "no tokens": ({"tokenizer__ggml__tokens": None}, "empty"),
    "tokens are numbers": ({"tokenizer__ggml__tokens": [1, 2]}, "no array of string"),
    "token twice": ({"tokenizer__ggml__tokens": ["a", "b", "a", "c", "d"]}, "twice"),
    "stand-in twice": ({"tokenizer__ggml__tokens": ["", "[EMPTY_0]", "a", "b", "c"]}, "twice"),
    "few scores": ({"tokenizer__ggml__scores": [0.0]}, "shorter"),
    "scores as text": ({"tokenizer__ggml__scores": ["1"] * 5}, "float32 or int32"),
    "few types": ({"tokenizer__ggml__token_type": [1]}, "shorter"),
    "types are floats": ({"tokenizer__ggml__token_type": [1.0] * 5}, "no array of int32"),
    "merges are numbers": ({"tokenizer__ggml__merges": [1]}, "no array of string"),
    "character map": (
        {"tokenizer__ggml__precompiled_charsmap": array(0, [b"\xff"] * 8)},
        "damaged",
    ),
}

UNKNOWN = {
    "architecture": ({"general__architecture": "gpt-9"}, "unknown model architecture: 'gpt-9'"),
    "projector": ({"general__architecture": "clip"}, "projector"),
    "tokenizer": ({"tokenizer__ggml__model": "magic"}, "unknown tokenizer: 'magic'"),
    "no vocabulary": ({"tokenizer__ggml__model": "none"}, "no vocabulary"),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_models_pass(tmp_path: Path, name: str) -> None:
    """Everything real models do is allowed."""
    check(tmp_path, SOUND[name])


@pytest.mark.parametrize("name", DEADLY)
def test_deadly_numbers_are_refused(tmp_path: Path, name: str) -> None:
    """Each assertion of llama.cpp is an error here, which says what is wrong."""
    changes, reason = DEADLY[name]
    with pytest.raises(CorruptModel, match=reason):
        check(tmp_path, changes)


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_models_are_not_called_damaged(tmp_path: Path, name: str) -> None:
    """A sound file that cannot be run is refused, but not as corrupt."""
    changes, reason = UNKNOWN[name]
    with pytest.raises(ModelLoadError, match=reason) as caught:
        check(tmp_path, changes)
    assert not isinstance(caught.value, CorruptModel)


def test_truncated_and_missing_files(tmp_path: Path) -> None:
    """A download that stopped early is refused; a missing file is NotFound."""
    path = tmp_path / "model.gguf"
    path.write_bytes(small_model()[:-1])
    with pytest.raises(CorruptModel, match="truncated"):
        validate_weights(path)
    with pytest.raises(NotFound):
        validate_weights(tmp_path / "none")


def test_undecodable_tokens_count_as_different(tmp_path: Path) -> None:
    """Tokens that differ only in bytes that are not UTF-8 are no duplicates."""
    words = array(8, [text(b"\xff"), text(b"\xfe")])
    metadata = llama(tokenizer__ggml__tokens=words, tokenizer__ggml__token_type=None)
    path = tmp_path / "model.gguf"
    path.write_bytes(header(metadata))
    assert validate_weights(path).architecture == "llama"
