"""What a test does to the fake engine, and what it counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .base import Batch, ContextParams, DecodeStatus, LoadParams
from .embedding import EmbeddingParams, Tokens


@dataclass(frozen=True, slots=True)
class Failure:
    """A scripted trouble: ``status`` after the first ``rows`` rows were computed and kept."""

    status: DecodeStatus
    rows: int = 0


@dataclass(slots=True, kw_only=True)
class Hooks:
    """What a test may do to a backend; shared by all its models, changeable at any time.

    Attributes:
        on_load: called in the loading thread with path and parameters; may block or raise.
        on_open: called when a context is opened; may block or raise.
        on_decode: called at the start of every decode; may record, block or raise.
        on_adapter: called with the path of an adapter that is loaded; may block or raise.
        on_open_embeddings, on_embed: the same for contexts that embed.
        fail: what becomes of the n-th decode of a context, counted from 0.
        progress: the fractions reported while loading.
    """

    on_load: Callable[[str, LoadParams], None] | None = None
    on_open: Callable[[ContextParams], None] | None = None
    on_adapter: Callable[[str], None] | None = None
    on_decode: Callable[[Batch], None] | None = None
    on_open_embeddings: Callable[[EmbeddingParams], None] | None = None
    on_embed: Callable[[Sequence[Tokens]], None] | None = None
    fail: dict[int, DecodeStatus | Failure | Exception] = field(default_factory=dict)
    progress: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)


@dataclass(slots=True)
class Counters:
    """What a context was asked to do.

    Attributes:
        decodes: calls of decode, failed ones included.
        tokens_decoded: rows computed.
        max_rows, max_outputs: largest decode.
        no_room: decodes that found no room.
        incoherent: rows of logits computed from cells that were made in another context than they
            are seen in, or with other adapters: 0 unless the context was shifted.
        adapters: changes of the set in use.
        rankings: decodes whose best rows were asked for.
    """

    decodes: int = 0
    tokens_decoded: int = 0
    max_rows: int = 0
    max_outputs: int = 0
    no_room: int = 0
    incoherent: int = 0
    copies: int = 0
    removes: int = 0
    shifts: int = 0
    clears: int = 0
    chains: int = 0
    adapters: int = 0
    rankings: int = 0
    saves: int = 0
    restores: int = 0
