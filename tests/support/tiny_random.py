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
    """Sizes of a random model; ``seed`` makes another one of the same shape.

    ``architecture`` decides how it remembers: "llama" plain attention, "cohere2" a sliding window
    of ``window`` positions in three layers of four, "mamba" a recurrent state, "lfm2" states of
    convolutions and attention in every fourth layer, "eurobert" nothing.
    """

    architecture: str = "llama"
    window: int = 32
    layers: int = 2
    width: int = 64
    heads: int = 4
    hidden: int = 128
    context: int = 4096
    pre_tokenizer: str = "gpt-2"
    suppressed: tuple[int, ...] = ()
    bos: bool = False
    seed: int = 0

    def convolves(self, layer: int) -> bool:
        """Whether a layer remembers by a short convolution."""
        return self.architecture == "lfm2" and layer % 4 != 3


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
    hybrid = [0 if short else shape.heads for short in map(shape.convolves, range(shape.layers))]
    writer.add_head_count_kv(hybrid if shape.architecture == "lfm2" else shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary()))
    if shape.architecture == "cohere2":
        writer.add_sliding_window(shape.window)
        writer.add_layer_norm_eps(1e-5)
        writer.add_logit_scale(1.0)
    if shape.architecture == "lfm2":
        writer.add_shortconv_l_cache(3)
    if shape.architecture == "eurobert":
        writer.add_causal_attention(False)
    if shape.architecture == "mamba":
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(2 * shape.width)
        writer.add_ssm_state_size(16)
        writer.add_ssm_time_step_rank(4)


class _Weights:
    """Writes random tensors of a shape under their GGUF names."""

    def __init__(self, writer: GGUFWriter, shape: TinyShape) -> None:
        self.writer, self.shape = writer, shape
        self.random = np.random.default_rng(shape.seed)

    def matrix(self, name: str, rows: int, columns: int, scale: float = 0.08) -> None:
        values = self.random.standard_normal((rows, columns), dtype=np.float32) * scale
        self.writer.add_tensor(name, values)

    def vector(self, name: str, length: int, value: float = 1.0) -> None:
        self.writer.add_tensor(name, np.full(length, value, np.float32))

    def add_all(self) -> None:
        width, size = self.shape.width, len(vocabulary())
        self.matrix("token_embd.weight", size, width, 1.0)
        if self.shape.architecture in ("llama", "mamba"):
            self.matrix("output.weight", size, width, 0.3)
        norm = "token_embd_norm" if self.shape.architecture == "lfm2" else "output_norm"
        self.vector(f"{norm}.weight", width)
        for layer in range(self.shape.layers):
            block = f"blk.{layer}"
            self.vector(f"{block}.attn_norm.weight", width)
            if self.shape.architecture == "mamba":
                self.add_state_space(block)
                continue
            if self.shape.convolves(layer):
                self.add_convolution(block)
            else:
                self.add_attention(block)
            self.add_feed_forward(block)

    def add_attention(self, block: str) -> None:
        width, heads = self.shape.width, self.shape.heads
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            self.matrix(f"{block}.{part}.weight", width, width, 0.15)
        if self.shape.architecture == "lfm2":
            self.vector(f"{block}.attn_q_norm.weight", width // heads)
            self.vector(f"{block}.attn_k_norm.weight", width // heads)

    def add_convolution(self, block: str) -> None:
        width = self.shape.width
        self.matrix(f"{block}.shortconv.conv.weight", width, 3, 0.5)
        self.matrix(f"{block}.shortconv.in_proj.weight", 3 * width, width, 0.2)
        self.matrix(f"{block}.shortconv.out_proj.weight", width, width, 0.2)

    def add_feed_forward(self, block: str) -> None:
        width, hidden = self.shape.width, self.shape.hidden
        if self.shape.architecture != "cohere2":
            self.vector(f"{block}.ffn_norm.weight", width)
        self.matrix(f"{block}.ffn_gate.weight", hidden, width)
        self.matrix(f"{block}.ffn_up.weight", hidden, width)
        self.matrix(f"{block}.ffn_down.weight", width, hidden)

    def add_state_space(self, block: str) -> None:
        width, inner, state, rank = self.shape.width, 2 * self.shape.width, 16, 4
        self.matrix(f"{block}.ssm_in.weight", 2 * inner, width, 0.2)
        self.matrix(f"{block}.ssm_conv1d.weight", inner, 4, 0.5)
        self.vector(f"{block}.ssm_conv1d.bias", inner, 0.0)
        self.matrix(f"{block}.ssm_x.weight", rank + 2 * state, inner, 0.2)
        self.matrix(f"{block}.ssm_dt.weight", inner, rank, 0.2)
        self.vector(f"{block}.ssm_dt.bias", inner, 0.0)
        decay = -np.tile(np.linspace(0.05, 1.0, state, dtype=np.float32), (inner, 1))
        self.writer.add_tensor(f"{block}.ssm_a", decay)
        self.vector(f"{block}.ssm_d", inner)
        self.matrix(f"{block}.ssm_out.weight", width, inner, 0.2)


def make_tiny(path: Path, shape: TinyShape | None = None) -> Path:
    """Write a model of about 500 kB to ``path`` and return it."""
    shape = shape or TinyShape()
    writer = GGUFWriter(path, shape.architecture)
    writer.add_name("tiny random")
    _add_sizes(writer, shape)
    _add_vocabulary(writer, shape)
    _Weights(writer, shape).add_all()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
