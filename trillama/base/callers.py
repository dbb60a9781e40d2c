"""Who asks, how urgently, and until when: what a busy engine has to know of a request."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from .errors import TrillamaError


class Priority(enum.StrEnum):
    """Classes of requests, the most urgent first; nobody can ask for more than the default."""

    INTERACTIVE = "interactive"
    BATCH = "batch"
    EMBEDDING = "embedding"

    @property
    def weight(self) -> float:
        """The share of a busy engine, beside 1 of a client that waits for its answer."""
        return _WEIGHTS[self]


_WEIGHTS = {Priority.INTERACTIVE: 1.0, Priority.BATCH: 1 / 4, Priority.EMBEDDING: 1 / 16}


class DeadlineExceeded(TrillamaError):
    """The time that the request gave its answer is over."""

    status = 504
    code = "deadline_exceeded"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request's time of {seconds:g} s is over")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks.

    Attributes:
        client: clients share an engine equally; a name that tells no secret.
        priority: None leaves it to the request's options.
        asked: when the request came, on trio's clock.
        timeout: seconds the answer may take, from then on; inf for no limit.
    """

    client: str = ""
    priority: Priority | None = None
    asked: float = -math.inf
    timeout: float = math.inf
