"""Tells who has to come back later before anything is done for them.

A request says its model by a name, and to look a name up takes a worker thread: a dear way to a
refusal, just when the server has the least time. So it is remembered for a moment which runner a
name has led to, and that one is asked at once whether somebody more may wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import ReferenceType, ref

import trio

from ..runner_pool import Runner

TRUSTED = 1.0
"""Seconds for which a name is taken to mean what it meant: it may get another model, or none."""

MOST = 1024
"""Names that are remembered; spellings are many."""


@dataclass(frozen=True, slots=True)
class _Door:
    runner: ReferenceType[Runner]
    until: float


class Doorkeeper:
    """Which runner a name has led to lately; trio thread only."""

    def __init__(self) -> None:
        self._doors: dict[str, _Door] = {}

    def check(self, name: str, client: str) -> None:
        """See that one more may wait where ``name`` leads, as far as that is known.

        Raises:
            Busy: too many wait already.
        """
        door = self._doors.get(name)
        if door is None:
            return
        runner = door.runner()
        if runner is None or trio.current_time() > door.until:
            del self._doors[name]
        else:
            runner.check_room(client)

    def enter(self, name: str, runner: Runner, client: str) -> None:
        """As ``check``, now that ``name`` has been looked up and found to mean ``runner``.

        Raises:
            Busy: too many wait already.
        """
        if len(self._doors) >= MOST:
            self._doors.clear()
        self._doors[name] = _Door(ref(runner), trio.current_time() + TRUSTED)
        runner.check_room(client)
