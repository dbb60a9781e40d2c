"""Answers of long operations: status lines as they come, or the last one alone.

The operation runs in a task of the application, not of the response, and is cancelled by a plain
call when the request is left by whatever road. It tells its progress without waiting; lines that a
slow client has not read yet are kept, but of each digest only the latest, so they stay few.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import cast

import trio
from quart import Response, current_app
from quart.wrappers.response import ResponseBody

from ..base.errors import Cancelled, TrillamaError
from ..base.progress import Progress, Tell
from ..wire.gojson import encode
from .connection import Application, visit
from .errors import told

NDJSON = "application/x-ndjson"
JSON = "application/json"
"""Without a charset, as Ollama answers here."""

Operation = Callable[[Tell], Awaitable[None]]


class Lines:
    """Lines told and not yet read, of one operation.

    Attributes:
        last: the newest line.
    """

    def __init__(self, operation: Operation) -> None:
        self.last: Progress | None = None
        self._operation = operation
        self._scope = trio.CancelScope()
        self._waiting: dict[str | int, Progress] = {}
        self._news = trio.Event()
        self._count = 0
        self._over = False
        self._error: Exception | None = None
        self._withdrawn: TrillamaError = Cancelled("request canceled")

    async def run(self) -> None:
        """Carry the operation out; never raises."""
        try:
            with self._scope:
                await self._operation(self._tell)
            if self._scope.cancelled_caught:
                self._error = self._withdrawn
        except Exception as error:
            self._error = error
        finally:
            self._over = True
            self._news.set()

    def _tell(self, line: Progress) -> None:
        self._count += 1
        self._waiting.pop(line.digest, None)
        self._waiting[line.digest or self._count] = self.last = line
        self._news.set()

    async def receive(self) -> list[Progress]:
        """Lines that wait, at least one; none at the end.

        Raises:
            Exception: what ended the operation, once its lines are read.
        """
        while not self._waiting and not self._over:
            self._news = trio.Event()
            await self._news.wait()
        found = list(self._waiting.values())
        self._waiting.clear()
        if not found and self._error:
            raise self._error
        return found

    def cancel(self, why: TrillamaError | None = None) -> None:
        """Withdraw the operation; after its end, nothing.

        Args:
            why: what a reader who is still there is told.
        """
        self._withdrawn = why or self._withdrawn
        self._scope.cancel()


class LinesBody(ResponseBody):
    """The body of a streamed answer; ``first`` was read already."""

    def __init__(self, lines: Lines, first: list[Progress]) -> None:
        self._lines = lines
        self._first = first
        self._over = False

    async def __aenter__(self) -> LinesBody:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lines.cancel()

    def __aiter__(self) -> LinesBody:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        try:
            found = self._first or await self._lines.receive()
        except Exception as error:
            self._over = True
            return encode({"error": told(error).message}) + b"\n"
        self._first = []
        if not found:
            raise StopAsyncIteration
        return b"".join(encode(line) + b"\n" for line in found)


def begin(operation: Operation) -> Lines:
    """Start an operation that ends, at the latest, with the request that is being served."""
    lines, app = Lines(operation), cast("Application", current_app)
    app.operations.add(lines.cancel)
    visit().held.callback(app.operations.discard, lines.cancel)
    visit().held.callback(lines.cancel)
    app.nursery.start_soon(lines.run)
    return lines


async def progress_response(operation: Operation, *, stream: bool) -> Response:
    """Run ``operation`` and answer with its lines, or with the last one when not streaming.

    Raises:
        TrillamaError: trouble before the first line, or any trouble when not streaming; the
            status can still tell it.
    """
    lines = begin(operation)
    if stream:
        return Response(LinesBody(lines, await lines.receive()), content_type=NDJSON)
    while await lines.receive():
        pass
    return Response(encode(lines.last or {}), content_type=JSON)
