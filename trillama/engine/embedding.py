"""The contract of contexts that turn texts into vectors, and the facts that decide how.

A context of this kind takes several whole inputs in one call, each a sequence of its own, and
gives one row for each. It shares its weights with the contexts that generate; a ``base.Model``
opens it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trillama.base.adapters import Adapters

Tokens = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float32]


class Pooling(enum.StrEnum):
    """How the rows of an input's tokens become one; in the order of llama.cpp's numbers.

    With NONE the model leaves that to others, and the last token's row is taken.
    """

    NONE = "none"
    MEAN = "mean"
    CLS = "cls"
    LAST = "last"
    RANK = "rank"
    """A classification head: the row holds scores, not a vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingParams:
    """How to open a context for embeddings.

    Attributes:
        batch: tokens of one call, all inputs together; 0 lets the engine choose.
        sequences: inputs of one call (<= 256).
        longest: tokens of one input at most; never more than the model was trained for.
        threads: CPU threads; 0 means one per physical core.
        flash_attention: None lets the library decide.
        adapters: LoRA adapters that all is computed with; loaded before.
    """

    batch: int = 0
    sequences: int = 64
    longest: int = 256
    threads: int = 0
    flash_attention: bool | None = None
    adapters: Adapters = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingLimits:
    """What the context really has.

    Attributes:
        batch: tokens of one call at most.
        pack: tokens of one call that are worth their while; more is no faster.
        width: values in a row.
        cores: CPU threads of a call; 1 where a GPU computes.
    """

    batch: int
    pack: int
    sequences: int
    longest: int
    width: int
    cores: int = 1


class EmbeddingContext(Protocol):
    """Texts in tokens to rows; belongs to one thread."""

    limits: EmbeddingLimits

    def embed(self, inputs: Sequence[Tokens]) -> Vectors:
        """Rows of ``inputs``, float32, shape (len(inputs), width), not normalised.

        Args:
            inputs: at least one, none empty; together within ``batch`` tokens, or a single one
                within ``longest``.

        Raises:
            EngineError: the inputs break a limit, or the library failed.
        """
        ...

    def close(self) -> None:
        """Free the context; the model stays."""
        ...
