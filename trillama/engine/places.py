"""What the books of a context's memory have in common: places, grants and counts."""

from __future__ import annotations

from dataclasses import dataclass

from .operations import Operation


@dataclass(eq=False, slots=True, kw_only=True)
class Place:
    """One sequence id in use.

    Attributes:
        key: under which its prefix may be shared.
        length: positions computed; the next one goes to position ``length``.
        registered: leading positions whose tokens are known here and may be shared.
        live: belongs to a running job; otherwise it is a holder and may be evicted.
        shifted: a context shift moved its tail, which therefore fits no other prompt.
        stop: position that its prompt has to be computed up to, and no further in the same step,
            because it is to be saved there; 0 for none.
    """

    id: int
    key: str
    length: int = 0
    registered: int = 0
    live: bool = True
    shifted: bool = False
    stop: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """A place for a job: the first ``cached`` tokens need no computing."""

    sequence: Place
    cached: int
    operations: list[Operation]


@dataclass(frozen=True, slots=True)
class KVStatistics:
    """Cells and sequences at one moment; ``evictions`` counts since the start.

    Attributes:
        saved, saved_bytes: sequences kept in the host's memory.
        restored: tokens that were taken from there, since the start.
    """

    cells: int
    used: int
    idle: int
    live: int
    holders: int
    evictions: int
    saved: int = 0
    saved_bytes: int = 0
    restored: int = 0
