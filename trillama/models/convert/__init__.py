"""Hugging Face checkpoints to GGUF: one family of architectures a file.

``convert`` reads a folder with ``config.json``, ``*.safetensors`` and a tokenizer, and writes one
GGUF file that llama.cpp loads. A family is a ``Plan``: its metadata and the names of its tensors.
Everything in the folder is a stranger's: sizes are checked, nothing is executed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from trillama.base.errors import CorruptModel, Unsupported

from .bert import bert_plan
from .checkpoint import Checkpoint
from .plan import FLOATS, Plan, write_gguf

__all__ = ["FAMILIES", "FLOATS", "convert"]

FAMILIES: dict[str, Callable[[Checkpoint], Plan]] = {
    "BertModel": bert_plan,
    "BertForMaskedLM": bert_plan,
    "BertForSequenceClassification": bert_plan,
}
"""Names of ``architectures`` in config.json to the family that converts them."""


def convert(folder: Path, target: Path, kind: str = "F16") -> Path:
    """Write the checkpoint in ``folder`` to ``target``, in whole or not at all.

    Args:
        kind: of the matrices, "F16" or "F32"; vectors are always F32.

    Returns:
        ``target``.

    Raises:
        Unsupported: no family converts this architecture, or not this variant of it.
        CorruptModel: a file is missing, damaged, or does not fit the config.
    """
    if kind not in FLOATS:
        raise Unsupported(f"conversion to {kind!r}; known: {', '.join(FLOATS)}")
    checkpoint = Checkpoint(folder)
    names = checkpoint.config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if name not in FAMILIES:
        raise Unsupported(f"conversion of {name!r}; known: {', '.join(FAMILIES)}")
    unfinished = target.with_name(f".{target.name}.part")
    try:
        write_gguf(FAMILIES[name](checkpoint), unfinished, kind)
        os.replace(unfinished, target)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptModel(f"{folder.name} does not fit its config: {error}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return target
