"""Parts of a blob that is being pulled, and their records: pure book-keeping.

A record is Ollama's: a file ``<blob>-partial-<N>`` with one JSON object, so that either program
goes on where the other was stopped. The records of a blob together cover it exactly; a set that
does not counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

SMALLEST, LARGEST = 64 << 20, 256 << 20
"""Bytes of a part: large enough to be worth a request, small enough to lie in the page cache."""
PARTS = 64
RECORD_BYTES = 128
"""Records have one length, so that a record is overwritten within one sector."""


class Part(msgspec.Struct, rename={"number": "N", "offset": "Offset", "size": "Size"}):
    """A range of a blob; ``completed`` of its bytes are there, from its beginning."""

    number: int
    offset: int
    size: int
    completed: int = msgspec.field(default=0, name="Completed")

    @property
    def missing(self) -> int:
        """Bytes still to come."""
        return self.size - self.completed

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.size


_read = msgspec.json.Decoder(Part).decode


def plan(total: int) -> list[Part]:
    """Parts for a blob of ``total`` bytes, none of them there."""
    size = min(max(total // PARTS, SMALLEST), LARGEST)
    starts = range(0, total, size) or range(1)
    return [Part(n, start, min(size, total - start)) for n, start in enumerate(starts)]


def whole(total: int) -> list[Part]:
    """One part, for registries that know no ranges."""
    return [Part(0, 0, total)]


def write_record(part: Part) -> bytes:
    """The content of a record file."""
    return msgspec.json.encode(part).ljust(RECORD_BYTES - 1) + b"\n"


def read_records(records: Iterable[bytes], total: int) -> list[Part]:
    """The parts of a blob by their records; empty where those do not cover it exactly."""
    try:
        parts = sorted((_read(record) for record in records), key=lambda part: part.offset)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []
    reached = 0
    for part in parts:
        if part.offset != reached or part.size < 0 or not 0 <= part.completed <= part.size:
            return []
        reached = part.end
    numbers = {part.number for part in parts}
    return parts if reached == total and numbers == set(range(len(parts))) else []


def contiguous(parts: list[Part]) -> int:
    """Bytes that are there from the beginning without a gap; ``parts`` in order."""
    reached = 0
    for part in parts:
        reached += part.completed
        if part.missing:
            break
    return reached
