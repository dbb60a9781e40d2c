"""Who asks, how urgently, and until when: what a busy engine has to know of a request."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from .durations import SECOND, parse_duration
from .errors import BadRequest, TrillamaError


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
    """The answer took longer than the request, or the server, allows."""

    status = 504
    code = "deadline_exceeded"

    def __init__(self) -> None:
        super().__init__(
            "the time for this request is over (X-Request-Timeout, the option timeout, or the "
            "server's REQUEST_TIMEOUT)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks.

    Attributes:
        asked: when the request came, on trio's clock.
        client: clients share an engine equally; a name that tells no secret.
        priority: None leaves it to the request's options.
        timeout: seconds the answer may take, from then on; inf for no limit.
    """

    asked: float
    client: str = ""
    priority: Priority | None = None
    timeout: float = math.inf


def parse_timeout(name: str, value: object) -> float:
    """Seconds of a number, or of a text such as ``90``, ``1.5`` or ``2m``.

    Raises:
        BadRequest: it is neither, or not above 0; the message names ``name``.
    """
    try:
        seconds = _seconds(value)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not seconds > 0:
        raise BadRequest(f"{name} must be seconds above 0 or a duration such as 90s or 2m")
    return seconds


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(value)
    try:
        return float(value)
    except ValueError:
        return parse_duration(str(value)) / SECOND


def parse_priority(name: str, value: object) -> Priority:
    """One of the classes.

    Raises:
        BadRequest: it is none; the message names ``name``.
    """
    if isinstance(value, str) and value.lower() in list(Priority):
        return Priority(value.lower())
    raise BadRequest(f"{name} must be one of {', '.join(Priority)}")
