"""Who may wait for a model's engine, and who is told to come back later. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..base.callers import Priority
from ..base.errors import Busy
from ..base.jobs import Job
from .pace import Pace

QUEUE_FULL = "server busy, please try again.  maximum pending requests exceeded"

RESERVE = 4
"""A quarter more may wait where one client has taken all places: others, with few each."""

FEW = 16
"""A sixteenth of the places is few."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits for its turn.

    Attributes:
        since: trio's clock.
    """

    client: str
    priority: Priority
    tokens: int
    since: float


class WaitingRoom:
    """The jobs that wait for one engine.

    Args:
        places: jobs that may wait; one client with all of them does not keep out the others.
        tokens: prompt tokens of all together, but for a single job.
    """

    def __init__(self, places: int, tokens: int) -> None:
        self._places = max(1, places)
        self._most_tokens = tokens
        self._waiting: dict[str, Waiting] = {}
        self._by_client: Counter[str] = Counter()
        self._tokens = 0
        self._pace = Pace()

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<WaitingRoom {len(self)} of {self._places}, {self._tokens} tokens>"

    @property
    def waiting(self) -> dict[str, Waiting]:
        """Who waits, by job, in the order of arrival."""
        return self._waiting

    def check(self, client: str, tokens: int, now: float) -> None:
        """See that one more may come in.

        Args:
            tokens: of its prompt, 0 while they are not counted.

        Raises:
            Busy: there is no room; it says when to come back, by the measured rate.
        """
        crowded = len(self) >= self._places
        if crowded and self._by_client[client] < max(1, self._places // FEW):
            crowded = len(self) >= self._places + self._places // RESERVE
        if crowded or (self._tokens and self._tokens + tokens > self._most_tokens):
            raise Busy(QUEUE_FULL, self._pace.retry_after(len(self), now))

    def enter(self, job: Job, now: float) -> None:
        """Let a job wait; see ``check``."""
        waiting = Waiting(job.client, job.priority, len(job.prompt), now)
        self._waiting[job.id] = waiting
        self._by_client[waiting.client] += 1
        self._tokens += waiting.tokens

    def leave(self, job_id: str) -> None:
        """A job has got its place in the engine, or has gone; again is harmless."""
        waiting = self._waiting.pop(job_id, None)
        if waiting is None:
            return
        self._tokens -= waiting.tokens
        self._by_client[waiting.client] -= 1
        if not self._by_client[waiting.client]:
            del self._by_client[waiting.client]

    def resumed(self, now: float) -> None:
        """The engine has work again."""
        self._pace.begin(now)

    def served(self, now: float) -> None:
        """A job of the engine's has ended: the rate at which they do says how long others wait."""
        self._pace.tick(now)

    def seconds(self, position: int, now: float) -> float | None:
        """How long the ``position``-th will likely wait; None before anything was measured."""
        rate = self._pace.per_second(now)
        return position / rate if rate else None
