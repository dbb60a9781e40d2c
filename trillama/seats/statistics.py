"""What a batcher tells of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ..kv import KVStatistics
from .line import Line


@dataclass(slots=True, kw_only=True)
class Counts:
    """What a batcher has done since its start.

    Attributes:
        steps: decodes that computed something.
        prompt_tokens: prompt tokens computed; ``cached_tokens`` were not.
        no_room: decodes for which the library found no cells.
        drafted, accepted: tokens guessed, and those of them that were right.
    """

    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    no_room: int = 0
    drafted: int = 0
    accepted: int = 0


@dataclass(slots=True, kw_only=True)
class BatchStatistics(Counts):
    """Jobs at one moment, and the counts until then.

    Attributes:
        order: ids of the jobs that wait, the next one first.
        preemptions: jobs sent back to the queue to make room, since the start.
    """

    waiting: int
    order: tuple[str, ...]
    prefilling: int
    generating: int
    paused: int
    preemptions: int
    kv: KVStatistics


def summary(line: Line, paused: int, counts: Counts, kv: KVStatistics) -> BatchStatistics:
    """What a batcher tells of itself."""
    generating = sum(bool(seat.fresh) for seat in line.live)
    return BatchStatistics(
        waiting=line.waiting,
        order=tuple(seat.job.id for seat in line.order()),
        prefilling=len(line.live) - generating,
        generating=generating,
        paused=paused,
        preemptions=line.preemptions,
        kv=kv,
        **asdict(counts),
    )
