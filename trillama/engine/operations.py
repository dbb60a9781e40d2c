"""Changes to a context's memory as values: ``kv`` decides them, ``batching`` carries them out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from .base import Context


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


Operation: TypeAlias = Copy | Remove | Shift


def carry_out(operations: Iterable[Operation], context: Context) -> None:
    """Make the library's memory agree with the book, in order."""
    for op in operations:
        match op:
            case Copy():
                context.seq_copy(op.source, op.target, op.start, op.end)
            case Shift():
                context.seq_shift(op.sequence, op.start, op.end, op.delta)
            case Remove():
                context.seq_remove(op.sequence, op.start, op.end)
