"""Whether an adapter fits, told from headers: llama.cpp never computes with what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.lora import make_lora
from tests.support.tiny_random import make_tiny
from trillama.base.errors import CorruptModel, NotFound
from trillama.models.adapters import AdapterChecks, DoesNotFit, check_adapter
from trillama.models.ggml_types import ELEMENT_TYPES
from trillama.models.gguf import GgufArray, GgufFile, TensorInfo

LORA = {
    "general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora",
    "adapter.lora.alpha": 8.0,
}  # fmt: skip
F32, NVFP4, I8 = ELEMENT_TYPES[0], ELEMENT_TYPES[40], ELEMENT_TYPES[24]


def file(metadata: dict[str, Any], *tensors: tuple[str, tuple[int, ...]], kind: Any = F32) -> Any:
    infos = tuple(TensorInfo(name, shape, kind, 0) for name, shape in tensors)
    return GgufFile(3, 32, metadata, infos, 0, 0)


PLAIN, EXPERTS = ("q.weight", (64, 128)), ("e.weight", (64, 128, 4))
EMBEDDINGS = ("token_embd.weight", (64, 300))
BASE = file({"general.architecture": "llama"}, PLAIN, EXPERTS, EMBEDDINGS, ("output.weight", (1,)))
TIED = file({"general.architecture": "llama"}, PLAIN, EMBEDDINGS)


def pair(name: str, down: tuple[int, ...], up: tuple[int, ...]) -> tuple[Any, Any]:
    return (f"{name}.lora_a", down), (f"{name}.lora_b", up)


GOOD = pair("q.weight", (64, 8), (8, 128))
EMBEDDED = pair("token_embd.weight", (8, 300), (8, 64))


@pytest.mark.parametrize(
    "tensors",
    [
        GOOD,
        pair("e.weight", (64, 8, 4), (8, 128, 4)),
        EMBEDDED,
        (*GOOD, ("blk.0.attn_norm.weight", (64,))),
    ],
)
def test_what_fits(tensors: tuple[Any, ...]) -> None:
    """Matrices, experts, embeddings; whole norms are passed over as llama.cpp does."""
    check_adapter(file(LORA, *tensors), BASE)


@pytest.mark.parametrize(
    ("adapter", "base", "why"),
    [
        (
            file({"general.architecture": "llama"}, *GOOD),
            BASE,
            "no LoRA adapter, but a model",
        ),
        (file(LORA | {"adapter.type": "x"}, *GOOD), BASE, "it is no LoRA adapter, but adapter/x"),
        (file(LORA | {"general.architecture": "qwen3"}, *GOOD), BASE, "for 'qwen3', not 'llama'"),
        (file(LORA | {"adapter.lora.alpha": float("nan")}, *GOOD), BASE, "adapter.lora.alpha"),
        (file(LORA | {"adapter.lora.alpha": "8"}, *GOOD), BASE, "adapter.lora.alpha"),
        (
            file(LORA | {"adapter.alora.invocation_tokens": GgufArray("uint32", 2)}, *GOOD),
            BASE,
            "to be activated by certain tokens",
        ),
        (file(LORA), BASE, "holds no weights"),
        (file(LORA, *pair("z.weight", (64, 8), (8, 128))), BASE, "no weights 'z.weight'"),
        (file(LORA, GOOD[0]), BASE, "lacks the other factor"),
        (file(LORA, *GOOD, PLAIN), BASE, "'q.weight' is no factor"),
        (file(LORA, *pair("q.weight", (32, 8), (8, 128))), BASE, "for 'q.weight' of [64, 128]"),
        (file(LORA, *pair("q.weight", (64, 8), (8, 64))), BASE, "factors"),
        (file(LORA, *pair("q.weight", (64, 8), (4, 128))), BASE, "factors"),
        (file(LORA, *pair("q.weight", (64, 0), (0, 128))), BASE, "factors"),
        (file(LORA, *pair("e.weight", (64, 8), (8, 128))), BASE, "factors"),
        (file(LORA, *pair("e.weight", (64, 8, 4), (8, 128, 2))), BASE, "factors"),
        (file(LORA, *pair("token_embd.weight", (64, 8), (8, 300))), BASE, "factors"),
        (file(LORA, *EMBEDDED), TIED, "no weights 'token_embd.weight' that could be changed"),
        (file(LORA, *GOOD, kind=I8), BASE, "of type I8"),
        (
            file(LORA, *GOOD),
            file({"general.architecture": "llama"}, PLAIN, kind=NVFP4),
            "takes no adapter",
        ),
    ],
)
def test_what_does_not_fit_is_told(adapter: GgufFile, base: GgufFile, why: str) -> None:
    """Kind, architecture, names, shapes, element types: the first reason is named."""
    with pytest.raises(DoesNotFit) as caught:
        check_adapter(adapter, base)
    assert why in caught.value.message


def test_files_are_read_once(tmp_path: Path) -> None:
    """What fits is remembered; what is damaged or missing is told each time."""
    base = make_tiny(tmp_path / "base.gguf")
    lora = make_lora(tmp_path / "lora.gguf", base)
    checks = AdapterChecks()
    checks.require(lora, base)
    lora.write_bytes(b"GGUF")
    checks.require(lora, base)
    with pytest.raises(CorruptModel):
        AdapterChecks().require(lora, base)
    with pytest.raises(NotFound):
        checks.require(tmp_path / "none.gguf", base)
