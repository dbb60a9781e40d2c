"""BERT and its likes that differ in sizes only: sentence embedders and cross-encoders.

An embedder's pooling and length come from its sentence-transformers files. A model for sequence
classification becomes one that ranks: llama.cpp applies ``cls`` with a tanh and then ``cls.output``
to the first token's row, which are the pooler and the classifier of a BERT.
"""

from __future__ import annotations

import functools
from typing import Any

from gguf import GGUFWriter, PoolingType

from trillama.base.errors import CorruptModel, Unsupported

from .checkpoint import Checkpoint
from .plan import Plan
from .wordpiece import add_wordpiece

_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
_HEAD = {
    "pooler.dense.weight": "cls.weight",
    "pooler.dense.bias": "cls.bias",
    "classifier.weight": "cls.output.weight",
    "classifier.bias": "cls.output.bias",
}
_POOLINGS = {
    "pooling_mode_mean_tokens": PoolingType.MEAN,
    "pooling_mode_cls_token": PoolingType.CLS,
    "pooling_mode_lasttoken": PoolingType.LAST,
}


def bert_plan(checkpoint: Checkpoint) -> Plan:
    """The plan for a BERT.

    Raises:
        Unsupported: a variant llama.cpp's graph does not compute.
    """
    config = checkpoint.config
    if config.get("hidden_act", "gelu") != "gelu":
        raise Unsupported(f"conversion of a BERT with {config['hidden_act']!r} activations")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise Unsupported("conversion of a BERT with relative positions")
    names = tensor_names(checkpoint)
    return Plan(
        architecture="bert",
        metadata=functools.partial(_metadata, checkpoint),
        tensors=[
            (ours, functools.partial(_read, checkpoint, theirs, ours))
            for theirs, ours in names.items()
        ],
        whole=frozenset(["position_embd.weight", "token_types.weight"]),
    )


def ranks(checkpoint: Checkpoint) -> bool:
    """Whether it is a cross-encoder."""
    return str(checkpoint.config["architectures"][0]).endswith("ForSequenceClassification")


def tensor_names(checkpoint: Checkpoint) -> dict[str, str]:
    """Names in the checkpoint to names in the file; what the graph does not use is left out.

    Raises:
        CorruptModel: a tensor is missing.
    """
    there = {name.removeprefix("bert."): name for name in checkpoint.names}
    wanted = dict(_EMBEDDINGS)
    for layer in range(int(checkpoint.config["num_hidden_layers"])):
        for theirs, ours in _LAYER.items():
            for part in ("weight", "bias"):
                name = f"encoder.layer.{layer}.{theirs}.{part}"
                wanted[name] = f"blk.{layer}.{ours}.{part}"
    if ranks(checkpoint):
        wanted |= _HEAD
    if missing := [name for name in wanted if name not in there]:
        raise CorruptModel(f"{len(missing)} tensors are missing, {missing[0]} among them")
    return {there[theirs]: ours for theirs, ours in wanted.items()}


def _read(checkpoint: Checkpoint, theirs: str, ours: str) -> Any:
    values = checkpoint.tensor(theirs)
    return values[: longest(checkpoint)] if ours == "position_embd.weight" else values


def longest(checkpoint: Checkpoint) -> int:
    """Positions of an input: those there are, or as few as sentence-transformers uses."""
    positions = int(checkpoint.config["max_position_embeddings"])
    used = checkpoint.json("sentence_bert_config.json").get("max_seq_length")
    return min(positions, used) if isinstance(used, int) and used > 0 else positions


def pooling(checkpoint: Checkpoint) -> PoolingType:
    """How the tokens' rows become one.

    Raises:
        Unsupported: by a way llama.cpp does not know, or by several at once.
    """
    if ranks(checkpoint):
        return PoolingType.RANK
    for module in checkpoint.modules():
        if str(module.get("type", "")).endswith("Pooling"):
            given = checkpoint.json(f"{module['path']}/config.json")
            modes = [name for name, on in given.items() if name.startswith("pooling_mode") and on]
            if len(modes) == 1 and modes[0] in _POOLINGS:
                return _POOLINGS[modes[0]]
            raise Unsupported(f"conversion of a BERT that pools by {modes}")
    return PoolingType.MEAN


def _metadata(checkpoint: Checkpoint, writer: GGUFWriter) -> None:
    config = checkpoint.config
    writer.add_name(str(config.get("_name_or_path") or checkpoint.folder.name))
    writer.add_context_length(longest(checkpoint))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(int(config["num_attention_heads"]))
    writer.add_layer_norm_eps(float(config["layer_norm_eps"]))
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling(checkpoint))
    writer.add_token_type_count(int(config["type_vocab_size"]))
    if ranks(checkpoint):
        writer.add_classifier_output_labels(_labels(config))
    add_wordpiece(writer, checkpoint, int(config["vocab_size"]))


def _labels(config: dict[str, Any]) -> list[str]:
    known = config.get("id2label") or {"0": "score"}
    return [str(known[key]) for key in sorted(known, key=int)]
