"""Writes very small GGUF models with random weights and a byte-level vocabulary.

They load in milliseconds, compute nonsense deterministically, and turn any text into tokens and
back: enough for every test of the machinery around a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

MERGES = ["h e", "l l", "he ll", "o r", "t h", "th e", "Ġ t", "Ġ w", "Ġw or", "i n", "e r", "a n"]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class TinyShape:
    """Sizes of a random model; ``seed`` makes another one of the same shape."""

    layers: int = 2
    width: int = 64
    heads: int = 4
    hidden: int = 128
    context: int = 4096
    pre_tokenizer: str = "gpt-2"
    suppressed: tuple[int, ...] = ()
    bos: bool = False
    seed: int = 0


def byte_letters() -> list[str]:
    """The printable letter GPT-2's byte-level vocabularies write for each byte value."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]


def vocabulary() -> list[str]:
    """All tokens: 256 bytes, the merged ones, the specials at the end."""
    return [*byte_letters(), *(merge.replace(" ", "") for merge in MERGES), *SPECIALS]


def _add_vocabulary(writer: GGUFWriter, shape: TinyShape) -> None:
    tokens = vocabulary()
    types = [TokenType.NORMAL] * (len(tokens) - len(SPECIALS)) + [TokenType.CONTROL] * 3
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(shape.pre_tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types([*types, TokenType.USER_DEFINED, TokenType.USER_DEFINED])
    writer.add_token_merges(MERGES)
    end = tokens.index("<|im_end|>")
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(shape.bos)
    writer.add_chat_template(CHATML)
    if shape.suppressed:
        writer.add_array("tokenizer.ggml.suppress_tokens", list(shape.suppressed))


def _add_sizes(writer: GGUFWriter, shape: TinyShape) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary()))


def _add_weights(writer: GGUFWriter, shape: TinyShape) -> None:
    random = np.random.default_rng(shape.seed)

    def matrix(name: str, rows: int, columns: int, scale: float = 0.08) -> None:
        values = random.standard_normal((rows, columns), dtype=np.float32) * scale
        writer.add_tensor(name, values)

    width, hidden, size = shape.width, shape.hidden, len(vocabulary())
    matrix("token_embd.weight", size, width, 1.0)
    matrix("output.weight", size, width, 0.3)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        writer.add_tensor(f"{block}.attn_norm.weight", np.ones(width, np.float32))
        writer.add_tensor(f"{block}.ffn_norm.weight", np.ones(width, np.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{block}.{part}.weight", width, width, 0.15)
        matrix(f"{block}.ffn_gate.weight", hidden, width)
        matrix(f"{block}.ffn_up.weight", hidden, width)
        matrix(f"{block}.ffn_down.weight", width, hidden)


def make_tiny(path: Path, shape: TinyShape | None = None) -> Path:
    """Write a llama-architecture model of about 500 kB to ``path`` and return it."""
    shape = shape or TinyShape()
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny random")
    _add_sizes(writer, shape)
    _add_vocabulary(writer, shape)
    _add_weights(writer, shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
