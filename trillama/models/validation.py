"""Checks of a weights file before llama.cpp sees it.

llama.cpp answers most damage with an error, but some numbers end the process: its assertions on
hyper-parameters (src/llama-model.cpp, load_hparams), on the vocabulary (src/llama-vocab.cpp, load)
and on head sizes (src/models). Each of those is a check here, so that a bad file is an error of the
request that named it.
"""

from __future__ import annotations

from pathlib import Path

from trillama.base.errors import CorruptModel, ModelLoadError

from .architectures import EQUAL_HEADS, KNOWN
from .gguf import GgufArray, GgufFile, read_gguf

MAX_LAYERS = 512
MAX_EXPERTS = 1024
MAX_HEADS = 1 << 16
MAX_WIDTH = 1 << 24
TOKENIZERS = frozenset(
    ["llama", "bert", "gpt2", "hybriddna", "whitespace", "t5", "rwkv", "plamo2", "gemma4"]
)
WITHOUT_VOCABULARY = frozenset(["no_vocab", "none"])
ROPE_SCALINGS = frozenset(["none", "linear", "yarn", "longrope"])


def validate_weights(path: Path) -> GgufFile:
    """Read the header of ``path``, all arrays kept, and check what llama.cpp only asserts.

    Raises:
        CorruptModel: the file would abort the process, or is damaged.
        ModelLoadError: llama.cpp does not know the architecture, or cannot generate with it.
        NotFound: there is no such file.
    """
    file = read_gguf(path, keep_arrays=None)
    architecture = file.architecture
    if not architecture:
        raise CorruptModel("the file names no architecture")
    if architecture == "clip":
        raise ModelLoadError("the file is a projector for pictures, not a language model")
    if architecture not in KNOWN:
        raise ModelLoadError(f"unknown model architecture: '{architecture}'")
    _check_sizes(file)
    _check_heads(file)
    _check_experts(file)
    _check_rope(file)
    _check_vocabulary(file)
    return file


def _number(file: GgufFile, name: str, low: int, high: int, default: int | None = None) -> int:
    """A whole-number hyper-parameter inside [low, high]; ``default`` where it may be absent."""
    value = file.hyper(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        shown = "missing" if value is None else repr(value)
        raise CorruptModel(f"{file.architecture}.{name} is {shown}; expected {low} to {high}")
    return value


def _per_layer(file: GgufFile, name: str, high: int) -> list[int]:
    """A number given once or per layer, one entry per layer; [] when absent."""
    value = file.hyper(name)
    layers = _number(file, "block_count", 1, MAX_LAYERS)
    if value is None:
        return []
    if not isinstance(value, GgufArray):
        return [_number(file, name, 0, high)] * layers
    numbers = [item for item in value.values or [] if isinstance(item, int)]
    if len(numbers) != value.count or value.count != layers:
        raise CorruptModel(f"{file.architecture}.{name} needs a whole number for each layer")
    if any(not 0 <= number <= high for number in numbers):
        raise CorruptModel(f"{file.architecture}.{name} has a number outside 0 to {high}")
    return numbers


def _check_sizes(file: GgufFile) -> None:
    layers = _number(file, "block_count", 1, MAX_LAYERS)
    _number(file, "nextn_predict_layers", 0, layers, 0)
    _number(file, "context_length", 1, 2**31 - 1)
    _number(file, "embedding_length", 1, MAX_WIDTH)
    _per_layer(file, "feed_forward_length", MAX_WIDTH)
    if file.architecture == "wavtokenizer-dec":
        _number(file, "posnet.block_count", 0, layers)
        _number(file, "convnext.block_count", 0, layers)


def _check_heads(file: GgufFile) -> None:
    heads = _per_layer(file, "attention.head_count", MAX_HEADS)
    shared = _per_layer(file, "attention.head_count_kv", MAX_HEADS) or heads
    for count, of in zip(heads, shared, strict=False):
        if of and count % of:
            raise CorruptModel(f"{count} attention heads cannot share {of} key-value heads")
    if not heads or not heads[0]:
        return
    each = _number(file, "embedding_length", 1, MAX_WIDTH) // heads[0]
    key = _number(file, "attention.key_length", 1, MAX_WIDTH, each)
    value = _number(file, "attention.value_length", 1, MAX_WIDTH, each)
    if not key or not value:
        raise CorruptModel("there are more attention heads than embedding dimensions")
    if file.architecture in EQUAL_HEADS and key != value:
        raise CorruptModel(f"heads of keys have size {key}, those of values {value}")


def _check_experts(file: GgufFile) -> None:
    experts = _number(file, "expert_count", 0, MAX_EXPERTS, 0)
    used = max(_per_layer(file, "expert_used_count", MAX_EXPERTS), default=0)
    groups = _number(file, "expert_group_count", 0, MAX_EXPERTS, 0)
    groups_used = _number(file, "expert_group_used_count", 0, MAX_EXPERTS, 0)
    if file.architecture in ("hunyuan_vl", "hunyuan-dense") and experts <= 1:
        experts = used = 0
    # One comparison each, as the assertions stand: no experts means none used and no groups.
    sound = used == groups == 0 if not experts else 0 < used <= experts and groups < experts
    if sound and groups > 1:
        sound = experts % groups == 0 and 0 < groups_used < groups
    if not sound:
        raise CorruptModel(
            f"{used} of {experts} experts in use and {groups_used} of {groups} groups is impossible"
        )


def _check_rope(file: GgufFile) -> None:
    scaling = file.hyper("rope.scaling.type")
    if scaling is not None and scaling not in ROPE_SCALINGS:
        raise CorruptModel(f"rope scaling {scaling!r} does not exist")
    if _number(file, "rope.dimension_count", 0, MAX_WIDTH, 0) % 2:
        raise CorruptModel("rope.dimension_count is odd")


def _array(file: GgufFile, key: str, *elements: str) -> GgufArray | None:
    value = file.metadata.get(f"tokenizer.ggml.{key}")
    if value is None:
        return None
    if not isinstance(value, GgufArray) or value.element not in elements:
        raise CorruptModel(f"tokenizer.ggml.{key} is no array of {' or '.join(elements)}")
    return value


def _check_vocabulary(file: GgufFile) -> None:
    model = file.text("tokenizer.ggml.model")
    if model in WITHOUT_VOCABULARY:
        raise ModelLoadError("the file has no vocabulary, so no text can be generated with it")
    if model not in TOKENIZERS:
        raise ModelLoadError(f"unknown tokenizer: {model!r}")
    tokens = _array(file, "tokens", "string")
    if tokens is None or not tokens.count:
        raise CorruptModel("the vocabulary is empty")
    words = {word or f"[EMPTY_{at}]" for at, word in enumerate(tokens.values or [])}
    if len(words) != tokens.count:
        raise CorruptModel("the vocabulary has the same token twice")
    for key, elements in (("scores", ("float32", "int32")), ("token_type", ("int32",))):
        beside = _array(file, key, *elements)
        if beside is not None and beside.count < tokens.count:
            raise CorruptModel(f"tokenizer.ggml.{key} is shorter than the vocabulary")
    _array(file, "merges", "string")
    _array(file, "suppress_tokens", "int32")
    _check_character_map(file)


def _check_character_map(file: GgufFile) -> None:
    """The map of a t5 tokenizer: a table of uint32 whose size in bytes stands before it."""
    table = _array(file, "precompiled_charsmap", "uint8", "int8")
    if table is None:
        return
    head = bytes(int(byte) & 255 for byte in (table.values or [])[:4])
    size = int.from_bytes(head, "little")
    if len(head) < 4 or size % 4 or size + 4 >= table.count:
        raise CorruptModel("tokenizer.ggml.precompiled_charsmap is damaged")
