"""Vectors and scores in neutral words: what every dialect asks for, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from .adapters import AdapterChoice

Input: TypeAlias = str | tuple[int, ...]
"""A text, or tokens that are given to the model as they are."""


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to turn into vectors, and how.

    Attributes:
        model: the name as the client sent it.
        inputs: each becomes one vector; none means load or unload only.
        truncate: an input that is too long is cut; otherwise it is an error.
        dimensions: values of a vector that are kept; 0 or too many means all.
        keep_alive: nanoseconds to stay loaded afterwards; None leaves it as it is.
        adapter: LoRA adapters instead of the model's own; None means those.
        options: by name, as sent; ``num_ctx`` limits an input.
    """

    model: str
    inputs: tuple[Input, ...] = ()
    truncate: bool = True
    dimensions: int = 0
    keep_alive: int | None = None
    adapter: tuple[AdapterChoice, ...] | None = None
    options: dict[str, Any] = {}


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Documents to be ordered by how well they answer a query.

    Attributes:
        top: documents that are wanted, best first; None means all.
        raw: scores as the model gives them, instead of 0 to 1.
        adapter: LoRA adapters instead of the model's own; None means those.
    """

    model: str
    query: str
    documents: tuple[str, ...] = ()
    top: int | None = None
    raw: bool = False
    truncate: bool = True
    keep_alive: int | None = None
    adapter: tuple[AdapterChoice, ...] | None = None
    options: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Vectors of length 1, in the order of the inputs; durations in nanoseconds.

    Attributes:
        rows: float32, shape (inputs, dimensions).
        dropped: tokens left out of inputs that were too long.
    """

    rows: npt.NDArray[np.float32]
    prompt_tokens: int = 0
    dropped: int = 0
    total_ns: int = 0
    load_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Documents by score, best first, as places in the request; durations in nanoseconds."""

    order: tuple[tuple[int, float], ...]
    prompt_tokens: int = 0
    dropped: int = 0
    total_ns: int = 0
    load_ns: int = 0
