"""Writes GGUF files byte by byte, sound ones and broken ones alike."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

INT32, FLOAT32, STRING, ARRAY = 5, 6, 8, 9

CHATML = (
    "{#- This comment is long enough to keep the template away from the well-known ones, so that "
    "creating a model from it detects none. -#}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def text(value: str | bytes) -> bytes:
    """A length-prefixed string."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def array(kind: int, items: Sequence[bytes]) -> bytes:
    """Type, element type, count, elements."""
    return struct.pack("<IIQ", ARRAY, kind, len(items)) + b"".join(items)


def value(item: Any) -> bytes:
    """A typed value: int is uint32, float is float32, lists of one kind are arrays; bytes as is."""
    match item:
        case bytes():
            return item
        case bool():
            return struct.pack("<I?", 7, item)
        case int():
            return struct.pack("<II", 4, item)
        case float():
            return struct.pack("<If", 6, item)
        case str():
            return struct.pack("<I", STRING) + text(item)
        case [str(), *_]:
            return array(STRING, [text(part) for part in item])
        case [float(), *_]:
            return array(FLOAT32, [struct.pack("<f", part) for part in item])
        case _:
            return array(INT32, [struct.pack("<i", part) for part in item])


Tensor = tuple[str, Sequence[int], int, int]
"""Name, dimensions, element type, offset."""


def header(
    metadata: Mapping[str, Any], tensors: Sequence[Tensor] = (), *, version: int = 3
) -> bytes:
    """Everything before the padding and the data."""
    parts = [b"GGUF", struct.pack("<IQQ", version, len(tensors), len(metadata))]
    parts += [text(key) + value(item) for key, item in metadata.items()]
    for name, shape, kind, offset in tensors:
        parts.append(text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        parts.append(struct.pack("<IQ", kind, offset))
    return b"".join(parts)


def with_data(head: bytes, size: int, alignment: int = 32) -> bytes:
    """``head``, padded, and ``size`` bytes of tensor data."""
    return head + bytes(-len(head) % alignment) + bytes(size)


def llama(**changes: Any) -> dict[str, Any]:
    """Metadata of a small sound model; keys of ``changes`` use ``__`` for a dot, None removes."""
    vocabulary = ["<s>", "</s>", "a", "b", "Ċ"]
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "general.file_type": 7,
        "llama.block_count": 2,
        "llama.context_length": 4096,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 128,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": vocabulary,
        "tokenizer.ggml.token_type": [3, 3, 1, 1, 1],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.chat_template": CHATML,
    }
    metadata |= {key.replace("__", "."): item for key, item in changes.items()}
    return {key: item for key, item in metadata.items() if item is not None}


def small_adapter(**changes: Any) -> bytes:
    """A LoRA adapter that fits ``small_model``."""
    said = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}
    tensors: list[Tensor] = [
        ("output_norm.weight.lora_a", (64, 1), 0, 0),
        ("output_norm.weight.lora_b", (1, 1), 0, 256),
    ]
    return with_data(header(said | changes, tensors), 256 + 4)


def small_model(**changes: Any) -> bytes:
    """A whole file: the metadata of ``llama`` and two tensors, F32 and Q8_0."""
    tensors: list[Tensor] = [
        ("token_embd.weight", (64, 5), 8, 0),
        ("output_norm.weight", (64,), 0, 352),
    ]
    return with_data(header(llama(**changes), tensors), 352 + 256)
