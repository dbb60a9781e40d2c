"""Writes GGUF files with all headers of a real model and no data: holes of the right size.

They are for asking llama.cpp what it would allocate. Nothing can be computed with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf import GGUFWriter
from gguf.quants import quant_shape_to_byte_shape

Tensors = Iterator[tuple[str, tuple[int, ...]]]
"""Names and shapes, rows first as numpy has them."""


@dataclass(frozen=True)
class Hollow:
    """A shape: hyper-parameters below the architecture's name, and the tensors of one block.

    Attributes:
        tied: the output matrix is the token table.
        block: tensors of block n, without ``blk.n.``.
    """

    architecture: str
    hyper: dict[str, Any]
    block: Callable[[int], Tensors]
    layers: int = 8
    width: int = 1024
    vocabulary: int = 32_000
    tied: bool = False
    extra: tuple[tuple[str, tuple[int, ...]], ...] = field(default=())

    def tensors(self) -> Tensors:
        yield "token_embd.weight", (self.vocabulary, self.width)
        for number in range(self.layers):
            for name, shape in self.block(number):
                yield f"blk.{number}.{name}", shape
        yield from self.extra
        if not self.tied:
            yield "output.weight", (self.vocabulary, self.width)


def attention(width: int, heads: int, kv_heads: int, head: int) -> Tensors:
    """Norm and the four matrices."""
    yield "attn_norm.weight", (width,)
    yield "attn_q.weight", (heads * head, width)
    yield "attn_k.weight", (kv_heads * head, width)
    yield "attn_v.weight", (kv_heads * head, width)
    yield "attn_output.weight", (width, heads * head)


def feed_forward(width: int, hidden: int, experts: int = 0) -> Tensors:
    """Norm and the three matrices, of one network or of many."""
    yield "ffn_norm.weight", (width,)
    if not experts:
        yield "ffn_gate.weight", (hidden, width)
        yield "ffn_up.weight", (hidden, width)
        yield "ffn_down.weight", (width, hidden)
        return
    yield "ffn_gate_inp.weight", (experts, width)
    yield "ffn_gate_exps.weight", (experts, hidden, width)
    yield "ffn_up_exps.weight", (experts, hidden, width)
    yield "ffn_down_exps.weight", (experts, width, hidden)


def _plain(**more: Any) -> dict[str, Any]:
    return {
        "context_length": 32_768,
        "attention.head_count": 16,
        "attention.head_count_kv": 4,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "feed_forward_length": 2816,
        "rope.dimension_count": 64,
        **more,
    }


def _llama(number: int) -> Tensors:
    yield from attention(1024, 16, 4, 64)
    yield from feed_forward(1024, 2816)


def _qwen3(number: int) -> Tensors:
    yield from attention(1024, 16, 4, 128)
    yield "attn_q_norm.weight", (128,)
    yield "attn_k_norm.weight", (128,)
    yield from feed_forward(1024, 2816)


def _gemma3(number: int) -> Tensors:
    yield from attention(1024, 8, 4, 256)
    for name in ("attn_q_norm", "attn_k_norm"):
        yield f"{name}.weight", (256,)
    for name in ("post_attention_norm", "post_ffw_norm"):
        yield f"{name}.weight", (1024,)
    yield from feed_forward(1024, 4096)


def _experts(number: int) -> Tensors:
    yield from attention(1024, 16, 4, 128)
    yield "attn_q_norm.weight", (128,)
    yield "attn_k_norm.weight", (128,)
    yield from feed_forward(1024, 384, experts=32)


def _latent(number: int) -> Tensors:
    yield "attn_norm.weight", (1024,)
    yield "attn_q_a.weight", (384, 1024)
    yield "attn_q_a_norm.weight", (384,)
    yield "attn_q_b.weight", (16 * 192, 384)
    yield "attn_kv_a_mqa.weight", (512 + 64, 1024)
    yield "attn_kv_a_norm.weight", (512,)
    yield "attn_k_b.weight", (16, 512, 128)
    yield "attn_v_b.weight", (16, 128, 512)
    yield "attn_output.weight", (1024, 16 * 128)
    if number:
        yield from feed_forward(1024, 384, experts=16)
        for name, shape in (("gate", (768, 1024)), ("up", (768, 1024)), ("down", (1024, 768))):
            yield f"ffn_{name}_shexp.weight", shape
    else:
        yield from feed_forward(1024, 2816)


def _hybrid(number: int) -> Tensors:
    """LFM2: short convolutions, and attention in every fourth block."""
    if number % 4 == 3:
        yield from attention(1024, 16, 4, 64)
        yield "attn_q_norm.weight", (64,)
        yield "attn_k_norm.weight", (64,)
    else:
        yield "attn_norm.weight", (1024,)
        yield "shortconv.conv.weight", (1024, 3)
        yield "shortconv.in_proj.weight", (3 * 1024, 1024)
        yield "shortconv.out_proj.weight", (1024, 1024)
    yield from feed_forward(1024, 2816)


def _state_space(number: int) -> Tensors:
    yield "attn_norm.weight", (1024,)
    yield "ssm_in.weight", (4096, 1024)
    yield "ssm_conv1d.weight", (2048, 4)
    yield "ssm_conv1d.bias", (2048,)
    yield "ssm_x.weight", (64 + 32, 2048)
    yield "ssm_dt.weight", (2048, 64)
    yield "ssm_dt.bias", (2048,)
    yield "ssm_a", (2048, 16)
    yield "ssm_d", (2048,)
    yield "ssm_out.weight", (1024, 2048)


def _bert(number: int) -> Tensors:
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield f"{name}.weight", (1024, 1024)
        yield f"{name}.bias", (1024,)
    for name in ("attn_output_norm", "layer_output_norm"):
        yield f"{name}.weight", (1024,)
        yield f"{name}.bias", (1024,)
    yield "ffn_up.weight", (4096, 1024)
    yield "ffn_up.bias", (4096,)
    yield "ffn_down.weight", (1024, 4096)
    yield "ffn_down.bias", (1024,)


def _vision_rope(number: int) -> Tensors:
    yield from attention(1024, 16, 4, 64)
    for name, size in (("attn_q", 1024), ("attn_k", 256), ("attn_v", 256)):
        yield f"{name}.bias", (size,)
    yield from feed_forward(1024, 2816)


_NORM = (("output_norm.weight", (1024,)),)
_MAMBA = {
    "context_length": 32_768,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "attention.head_count": 0,
    "feed_forward_length": 0,
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 2048,
    "ssm.state_size": 16,
    "ssm.time_step_rank": 64,
}
_HEAD = {"attention.key_length": 128, "attention.value_length": 128, "rope.dimension_count": 128}
_LATENT = {
    "attention.head_count_kv": 1,
    "attention.kv_lora_rank": 512,
    "attention.q_lora_rank": 384,
    "attention.key_length": 576,
    "attention.value_length": 512,
    "attention.key_length_mla": 192,
    "attention.value_length_mla": 128,
    "leading_dense_block_count": 1,
    "expert_count": 16,
    "expert_used_count": 4,
    "expert_shared_count": 2,
    "expert_feed_forward_length": 384,
    "expert_weights_scale": 1.0,
}
_BERT = {
    "context_length": 512,
    "attention.head_count": 16,
    "attention.layer_norm_epsilon": 1e-12,
    "attention.causal": False,
    "feed_forward_length": 4096,
    "pooling_type": 1,
}
_BERT_TENSORS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("position_embd.weight", (512, 1024)),
    ("token_types.weight", (2, 1024)),
    ("token_embd_norm.weight", (1024,)),
    ("token_embd_norm.bias", (1024,)),
)

SHAPES = {
    "llama": Hollow("llama", _plain(), _llama, extra=_NORM),
    "qwen3": Hollow("qwen3", _plain(**_HEAD), _qwen3, tied=True, extra=_NORM),
    "gemma3": Hollow(
        "gemma3",
        _plain(
            **{
                **_HEAD,
                "attention.key_length": 256,
                "attention.value_length": 256,
                "attention.head_count": 8,
                "attention.sliding_window": 512,
                "feed_forward_length": 4096,
            }
        ),
        _gemma3,
        layers=12,
        tied=True,
        extra=_NORM,
    ),
    "experts": Hollow(
        "qwen3moe",
        _plain(**_HEAD, expert_count=32, expert_used_count=4, expert_feed_forward_length=384),
        _experts,
        extra=_NORM,
    ),
    "latent": Hollow("deepseek2", _plain(**_LATENT), _latent, extra=_NORM),
    "hybrid": Hollow(
        "lfm2",
        _plain(**{"shortconv.l_cache": 3, "attention.head_count_kv": [0, 0, 0, 4] * 2}),
        _hybrid,
        tied=True,
        extra=(("token_embd_norm.weight", (1024,)),),
    ),
    "state space": Hollow("mamba", _MAMBA, _state_space, layers=16, extra=_NORM),
    "bert": Hollow("bert", _BERT, _bert, tied=True, extra=_BERT_TENSORS),
    "vision rope": Hollow(
        "qwen2vl", _plain(**{"rope.dimension_sections": [16, 24, 24, 0]}), _vision_rope, extra=_NORM
    ),
}


def write_hollow(path: Path, shape: Hollow) -> Path:
    """Write the file: matrices of Q8_0, vectors of F32, a vocabulary of nothing but its size."""
    writer = GGUFWriter(path, shape.architecture)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(shape.vocabulary)
    writer.add_token_type_count(2)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    for name, value in shape.hyper.items():
        _add(writer, f"{shape.architecture}.{name}", value)
    for name, dimensions in shape.tensors():
        matrix = len(dimensions) > 1 and name.endswith(".weight") and dimensions[-1] % 32 == 0
        kind = Q.Q8_0 if matrix else Q.F32
        size = int(np.prod(quant_shape_to_byte_shape(dimensions, kind))) if matrix else 0
        writer.add_tensor_info(
            name,
            quant_shape_to_byte_shape(dimensions, kind) if matrix else dimensions,
            np.dtype(np.uint8 if matrix else np.float32),
            size or 4 * int(np.prod(dimensions)),
            raw_dtype=kind if matrix else None,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    tensors = [info for part in writer.tensors for info in part.values()]
    padded = sum(-(-info.nbytes // 32) * 32 for info in tensors)
    end = -(-path.stat().st_size // 32) * 32
    with path.open("r+b") as file:
        file.truncate(end + padded)
    return path


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_uint32(key, value)
