"""What the stages have found so far: one JSON file, written again after every single measurement.

A machine on loan may be gone in the middle of a stage, so nothing waits for the end, and a stage
that runs again goes on where the file stops.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

Status = Literal["done", "failed", "skipped"]


class Entry(msgspec.Struct):
    """One measurement: `value` holds its figures, `note` why there are none."""

    status: Status
    seconds: float
    at: float
    value: Any = None
    note: str = ""


class Record(msgspec.Struct):
    """The file: facts of the machine, and measurements by name, in the order they were taken."""

    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    entries: dict[str, Entry] = msgspec.field(default_factory=dict)


def load(path: Path) -> Record:
    """Read a file of results. Raises OSError, msgspec.DecodeError."""
    return msgspec.json.decode(path.read_bytes(), type=Record)


class Ledger:
    """A record and its file.

    Args:
        path: what is there already is gone on with.
        copy: a second place for the same file, from which nothing is read.
        deadline: on `time.monotonic`'s clock; nothing is begun that would outlast it.
    """

    def __init__(self, path: Path, deadline: float, copy: Path | None = None) -> None:
        self.path = path
        self._copy = copy
        self.deadline = deadline
        self.record = load(path) if path.exists() else Record()

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def has(self, name: str) -> bool:
        """Whether the measurement was taken; one that failed or was skipped is tried again."""
        entry = self.record.entries.get(name)
        return entry is not None and entry.status == "done"

    def value(self, name: str) -> Any:
        """The figures of a measurement, None if it was not taken."""
        return self.record.entries[name].value if self.has(name) else None

    def note_facts(self, **facts: object) -> None:
        self.record.facts |= facts
        self.save()

    def take(self, name: str, estimate: float, measure: Callable[[], Any]) -> bool:
        """Take a measurement unless it is there or the time is short; whether it is there now.

        Whatever goes wrong is written down and ends this measurement alone.

        Args:
            estimate: seconds it will take at most.
        """
        if self.has(name):
            return True
        if estimate > self.left:
            reason = f"{self.left:.0f} s left, it takes {estimate:.0f}"
            return self._note(name, Entry("skipped", 0, time.time(), note=reason))
        begin, entry = time.monotonic(), Entry("done", 0, time.time())
        try:
            entry.value = msgspec.to_builtins(measure())
        except Exception as error:
            entry.status, entry.note = "failed", f"{type(error).__name__}: {error}"[-2000:]
        entry.seconds = round(time.monotonic() - begin, 2)
        return self._note(name, entry)

    def _note(self, name: str, entry: Entry) -> bool:
        self.record.entries.pop(name, None)
        self.record.entries[name] = entry
        self.save()
        text = entry.note or msgspec.json.encode(entry.value).decode()[:300]
        head = f"[{self.left:4.0f} s left] {name}: {entry.status} in {entry.seconds} s"
        print(head, text, flush=True)
        return entry.status == "done"

    def save(self) -> None:
        text = msgspec.json.format(msgspec.json.encode(self.record)) + b"\n"
        for path in filter(None, (self.path, self._copy)):
            half = path.with_name(path.name + ".part")
            half.write_bytes(text)
            half.replace(path)
