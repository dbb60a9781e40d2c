"""Who sent the request that is being served, how urgent it is, and when its time is over.

A client is its key, or its address where it sends none. Keys are only told apart, never shown: what
goes on to the engine is a digest. The key that Ollama's own examples send ("ollama") is none.
"""

from __future__ import annotations

import hashlib
import math
from types import TracebackType

import trio
from quart import request as current_request

from ..base.callers import (
    Caller,
    DeadlineExceeded,
    parse_priority,
    parse_timeout,
)
from ..base.durations import SECOND
from ..base.options import Options
from ..base.settings import Settings
from .connection import visit

NO_KEY = ("", "ollama")
"""What clients send that have no key; Ollama's documents tell them to send its name."""


def caller() -> Caller:
    """Who sent the current request.

    Raises:
        BadRequest: a malformed ``X-Request-Timeout`` or ``X-Priority``.
    """
    headers = current_request.headers
    timeout = headers.get("X-Request-Timeout")
    priority = headers.get("X-Priority")
    return Caller(
        client=_client(headers.get("X-Api-Key") or headers.get("Authorization", "")),
        priority=None if priority is None else parse_priority("X-Priority", priority),
        asked=visit().asked,
        timeout=math.inf if timeout is None else parse_timeout("X-Request-Timeout", timeout),
    )


def _client(credential: str) -> str:
    scheme, _, rest = credential.partition(" ")
    key = rest.strip() if scheme.lower() == "bearer" else credential
    if key in NO_KEY:
        address = current_request.scope.get("client") or ("",)
        return f"address {address[0]}"
    return f"key {hashlib.sha256(key.encode()).hexdigest()[:16]}"


class Deadline:
    """A block that a request may spend its time in; it ends with DeadlineExceeded when that is
    over: at the earliest moment of all that have a say."""

    def __init__(self, caller: Caller, settings: Settings) -> None:
        self._asked = caller.asked
        most = settings.request_timeout / SECOND or math.inf
        self._scope = trio.CancelScope(deadline=caller.asked + min(caller.timeout, most))

    @property
    def at(self) -> float:
        """Trio's clock; inf for no limit."""
        return self._scope.deadline

    def obey(self, options: Options) -> None:
        """Bring it forward to what the options say."""
        self._scope.deadline = min(self.at, self._asked + options.timeout)

    def __enter__(self) -> Deadline:
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            raise DeadlineExceeded from None
