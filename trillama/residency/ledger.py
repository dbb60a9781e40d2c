"""What models have really taken of memory, remembered for the next time, across restarts.

Used by ``room``. An estimate from a header is within a few percent; what the library allocated for
the same file in the same kind of context is exact. The ledger is a help and no more: a file that
is missing, damaged or cannot be written costs nothing but its contents. It is written on a worker
thread, because a full disk or a slow one may take its time, and others their answers meanwhile.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import structlog
import trio

from ..base.errors import TrillamaError
from ..base.memory import Use
from ..blobs.durable import replace_file

log = structlog.get_logger(__name__)

FILE = "trillama-memory.json"
"""Its name in the models folder."""
MOST = 256
"""Entries; the oldest goes first."""
MOST_BYTES = 1 << 16
PATIENCE = 10
"""Seconds to wait for writes before one's own; then it is given up."""


class Ledger:
    """Bytes by which models differ from their estimates.

    Args:
        path: where they are kept; None keeps them in memory alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known = _read(path) if path else {}
        self._unsaved = False
        self._writer = trio.CapacityLimiter(1)

    def surplus(self, weights: str, use: Use) -> int:
        """What these files in such a context take beyond their estimate; 0 if never seen."""
        return self._known.get(_key(weights, use), 0)

    def note(self, weights: str, use: Use, surplus: int) -> None:
        """Remember what was found; ``save`` writes it down."""
        key = _key(weights, use)
        if self._known.get(key) == surplus:
            return
        self._known.pop(key, None)
        self._known[key] = surplus
        while len(self._known) > MOST:
            del self._known[next(iter(self._known))]
        self._unsaved = True

    async def save(self) -> None:
        """Write down what was noted since the last time; a cancel does not keep it from that.

        One write at a time, in the order of the calls.
        """
        if self._path is None or not self._unsaved:
            return
        self._unsaved, data = False, msgspec.json.encode(self._known)
        with trio.move_on_after(PATIENCE, shield=True):
            await trio.to_thread.run_sync(self._write, self._path, data, limiter=self._writer)

    def _write(self, path: Path, data: bytes) -> None:
        try:
            replace_file(path, data, staging=path.parent)
        except TrillamaError as error:
            log.warning("memory ledger not written", path=str(path), reason=error.message)


def _key(weights: str, use: Use) -> str:
    """Of the names of files, which are their digests, and how they are used."""
    told = msgspec.json.encode((weights, use))
    return hashlib.sha256(told).hexdigest()[:24]


def _read(path: Path) -> dict[str, int]:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        known = msgspec.json.decode(data[:MOST_BYTES], type=dict[str, int])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("memory ledger unreadable", path=str(path), reason=str(error))
        return {}
    return dict(list(known.items())[-MOST:])
