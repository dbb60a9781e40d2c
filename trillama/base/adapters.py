"""LoRA adapters: small files whose products are added to some weights of a model, by a factor."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class AdapterChoice(NamedTuple):
    """An adapter as a request asks for it: the model that has it, and how strongly it counts."""

    name: str
    scale: float = 1.0


class Adapter(NamedTuple):
    """An adapter as an engine applies it: its GGUF file, and what its products are scaled by."""

    path: str
    scale: float = 1.0


Adapters: TypeAlias = tuple[Adapter, ...]
"""A set of adapters, no path twice; equal sets compare equal because they are sorted by path."""
