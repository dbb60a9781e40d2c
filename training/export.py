"""Writes a checkpoint as a GGUF that llama.cpp runs as architecture `qwen3`.

Run as `python -m training.export CHECKPOINT OUT.gguf [--f32]`. Matrices become Q8_0, norms stay
F32; with --f32 everything stays F32, for comparing logits with PyTorch.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quantize

from training.model import Config, Tiny
from training.tokenizer import CONTROL, VISIBLE

HERE = Path(__file__).parent
_NAMES = {
    "attn_norm.weight": "attn_norm",
    "attn.q.weight": "attn_q",
    "attn.k.weight": "attn_k",
    "attn.v.weight": "attn_v",
    "attn.out.weight": "attn_output",
    "attn.q_norm.weight": "attn_q_norm",
    "attn.k_norm.weight": "attn_k_norm",
    "ffn_norm.weight": "ffn_norm",
    "ffn.gate.weight": "ffn_gate",
    "ffn.up.weight": "ffn_up",
    "ffn.down.weight": "ffn_down",
}


def load(checkpoint: Path) -> Tiny:
    """The network of a checkpoint, ready for inference."""
    data = torch.load(checkpoint, map_location="cpu")
    model = Tiny(Config(**data["config"]))
    model.load_state_dict(data["model"])
    return model.eval()


def read_back(path: Path) -> dict[str, torch.Tensor]:
    """The weights of an exported file as a state of the network, what Q8_0 has rounded included."""
    parts = {gguf_name: part for part, gguf_name in _NAMES.items()}
    state: dict[str, torch.Tensor] = {}
    for tensor in gguf.GGUFReader(path).tensors:
        array = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name == "token_embd.weight":
            name = "embed.weight"
        elif tensor.name == "output_norm.weight":
            name = "norm.weight"
        else:
            _, number, rest, _ = tensor.name.split(".")
            name = f"blocks.{number}.{parts[rest]}"
        state[name] = torch.from_numpy(array)
    return state


def tensors(model: Tiny) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """GGUF name and float32 array of every tensor."""
    for name, value in model.state_dict().items():
        array = value.float().numpy()
        if name == "embed.weight":
            yield "token_embd.weight", array
        elif name == "norm.weight":
            yield "output_norm.weight", array
        else:
            _, number, rest = name.split(".", 2)
            yield f"blk.{number}.{_NAMES[rest]}.weight", array


def _describe(writer: gguf.GGUFWriter, config: Config, f32: bool) -> None:
    kind = gguf.LlamaFileType.ALL_F32 if f32 else gguf.LlamaFileType.MOSTLY_Q8_0
    writer.add_type("model")
    writer.add_name("Tiny")
    writer.add_basename("tiny")
    writer.add_description("A very small chat model, trained from scratch on synthetic text")
    writer.add_size_label("4M")
    writer.add_license("mit")
    writer.add_tags(["text-generation", "chat", "tools", "thinking"])
    writer.add_languages(["en"])
    writer.add_file_type(kind)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config.n_ctx)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.n_ff)
    writer.add_head_count(config.n_head)
    writer.add_head_count_kv(config.n_head_kv)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.n_vocab)


def _vocabulary(writer: gguf.GGUFWriter, path: Path) -> None:
    model = json.loads(path.read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    kinds = dict.fromkeys(CONTROL, gguf.TokenType.CONTROL) | dict.fromkeys(
        VISIBLE, gguf.TokenType.USER_DEFINED
    )
    ids = model["vocab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in tokens])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    writer.add_eos_token_id(ids["<|im_end|>"])
    writer.add_eot_token_id(ids["<|im_end|>"])
    writer.add_bos_token_id(ids["<|endoftext|>"])
    writer.add_pad_token_id(ids["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    for key, name in (
        ("pre", "<|fim_prefix|>"),
        ("suf", "<|fim_suffix|>"),
        ("mid", "<|fim_middle|>"),
        ("pad", "<|fim_pad|>"),
        ("rep", "<|repo_name|>"),
        ("sep", "<|file_sep|>"),
    ):
        writer.add_uint32(f"tokenizer.ggml.fim_{key}_token_id", ids[name])
    writer.add_chat_template((HERE / "chat_template.jinja").read_text().rstrip("\n"))


def export(
    model: Tiny, out: Path, f32: bool = False, vocabulary: Path = HERE / "tokenizer.json"
) -> None:
    """Write `model` with its vocabulary and chat template to `out`."""
    writer = gguf.GGUFWriter(out, "qwen3")
    _describe(writer, model.config, f32)
    _vocabulary(writer, vocabulary)
    q8 = gguf.GGMLQuantizationType.Q8_0
    for name, array in tensors(model):
        if f32 or array.ndim == 1:
            writer.add_tensor(name, array.astype(np.float32))
        else:
            writer.add_tensor(name, quantize(array, q8), raw_dtype=q8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--f32", action="store_true")
    args = parser.parse_args()
    export(load(args.checkpoint), args.out, args.f32)


if __name__ == "__main__":
    main()
