"""Changes to a context's memory as values: the books decide them, ``seats`` carries them out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from trillama.base.errors import EngineError

from .base import Context
from .prefix_tree import Tokens
from .saved_states import Saved, SavedStates


@dataclass(frozen=True, slots=True)
class Copy:
    """Make ``target`` share ``source``'s cells at positions [start, end)."""

    source: int
    target: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Drop positions [start, end) of a sequence; end -1 means to the last."""

    sequence: int
    start: int = 0
    end: int = -1


@dataclass(frozen=True, slots=True)
class Shift:
    """Move positions [start, end) of a sequence by ``delta``."""

    sequence: int
    start: int
    end: int
    delta: int


@dataclass(frozen=True, slots=True)
class Save:
    """Keep what a sequence has computed, which are all of ``tokens``, in the host's memory."""

    sequence: int
    key: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Restore:
    """Give an empty sequence the first ``count`` positions of what was saved."""

    sequence: int
    saved: Saved
    count: int


Operation: TypeAlias = Copy | Remove | Shift | Save | Restore


def carry_out(
    operations: Iterable[Operation], context: Context, states: SavedStates | None = None
) -> None:
    """Make the library's memory agree with the book, in order.

    Args:
        states: where saved sequences go; needed only for ``Save`` and ``Restore``.

    Raises:
        EngineError: the library did not take back what it had given.
    """
    for op in operations:
        match op:
            case Copy():
                context.seq_copy(op.source, op.target, op.start, op.end)
            case Shift():
                context.seq_shift(op.sequence, op.start, op.end, op.delta)
            case Remove():
                context.seq_remove(op.sequence, op.start, op.end)
            case Save() if states is not None:
                states.put(op.key, op.tokens, context.save(op.sequence))
            case Restore() if states is not None:
                _restore(op, context, states)


def _restore(op: Restore, context: Context, states: SavedStates) -> None:
    if not context.restore(op.sequence, op.saved.image):
        raise EngineError("a saved sequence cannot be restored")
    if op.count < len(op.saved.tokens):
        context.seq_remove(op.sequence, op.count)
    states.use(op.saved, op.count)
