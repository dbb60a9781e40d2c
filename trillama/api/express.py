"""Chunks of a running stream, written past the task that otherwise sends it.

To wake a task, send through four layers and wait again costs more than a token's text is worth.
While the task of a streamed body waits for events nothing else can be written on its connection,
so a chunk may be framed here and handed to the socket at once, in the call that brought the token.
The headers, the first chunk, the end, and whatever the socket does not take go the usual way. Only
HTTP/1.1 is spoken here: h11 keeps no count of the chunks of such a body. ``listener`` owns the
socket; ``streaming`` decides when.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

LINE = "trillama.line"
"""Where a request's scope state names its connection."""


class Socket(Protocol):
    """A connection that can be written to without waiting."""

    @property
    def unsent(self) -> bool:
        """Something was not taken and has not been written since."""
        ...

    def write_now(self, data: bytes) -> bool:
        """Write; whether all was taken. What was not goes out before anything else."""
        ...

    async def flush(self) -> None:
        """Write what was not taken, with the patience of every write."""
        ...


class Express:
    """The fast way out of one response."""

    __slots__ = ("_line",)

    def __init__(self, line: Socket) -> None:
        self._line = line

    @property
    def clogged(self) -> bool:
        """The socket has not taken everything."""
        return self._line.unsent

    def push(self, data: bytes) -> bool:
        """Write ``data`` as one chunk; false when it clogged: then nothing more until ``flush``."""
        return not data or self._line.write_now(b"%x\r\n%b\r\n" % (len(data), data))

    async def flush(self) -> None:
        """Wait until the socket has taken the rest; returns also when the client is gone."""
        await self._line.flush()


def express(scope: Mapping[str, Any]) -> Express | None:
    """The fast way for a streamed response without a length, if this request can have one."""
    line = scope.get("state", {}).get(LINE)
    if line is None or scope["http_version"] != "1.1" or scope["method"] == "HEAD":
        return None
    return Express(line)
