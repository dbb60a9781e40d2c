"""The sockets of the server: accepting, writing with patience, closing in order.

Hypercorn parses and frames; this module replaces its outermost layer, because there a client that
reads nothing could hold a write, and with it a shutdown, for ever. Here every write has a limit.
Nurseries end inside out: the acceptor, then the connections, then the application's lifespan.
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import wrap_app

from .express import LINE

log = structlog.get_logger(__name__)

CLOSING_GRACE = 2.0
"""Seconds connections get, once the drain is over, to write what they have."""

IDLE_CONNECTION = 120.0
"""Seconds a connection without a request is kept."""

BACKLOG = 1024
"""Connections that may wait to be accepted."""


class ServerLog:
    """Hypercorn's log, in ours; access lines are written by ``connection``."""

    def __init__(self, config: Config) -> None:
        self._log = structlog.get_logger("hypercorn")

    async def access(self, *_: Any) -> None:
        """Nothing."""

    async def warning(self, message: str, *args: Any, **_: Any) -> None:
        """Shown."""
        self._log.warning(message % args if args else message)

    async def exception(self, message: str, *args: Any, **_: Any) -> None:
        """Shown with the traceback."""
        self._log.exception(message % args if args else message)


def http_config() -> Config:
    """Hypercorn's settings."""
    config = Config()
    config.logger_class = ServerLog  # type: ignore[assignment]
    config.keep_alive_timeout = IDLE_CONNECTION
    config.keep_alive_max_requests = 1 << 31
    config.h11_max_incomplete_size = 1 << 16
    config.include_server_header = False
    return config


class Patience:
    """Closes connections whose client takes nothing for too long.

    One task looks after all of them: a cancel scope for every write would cost a tenth of what a
    streamed token costs.

    Args:
        limit: seconds one write may take.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._writing: dict[Line, float] = {}

    def begin(self, line: Line) -> None:
        """``line`` starts a write."""
        self._writing[line] = trio.current_time()

    def end(self, line: Line) -> None:
        """``line`` has ended it."""
        del self._writing[line]

    async def run(self) -> None:
        """Look after them until cancelled."""
        while True:
            await trio.sleep(self._limit / 4)
            late = trio.current_time() - self._limit
            for line in [line for line, since in self._writing.items() if since <= late]:
                log.info("a client takes nothing; its connection is closed")
                await trio.aclose_forcefully(line.stream)


class Line(TCPServer):
    """One connection; a write that cannot be completed is its end."""

    def __init__(self, patience: Patience, *args: Any) -> None:
        super().__init__(*args)
        self._patience = patience
        self._rest = b""
        self._over = False
        if os.name == "posix":  # elsewhere a socket is no file
            self.state = ConnectionState({**self.state, LINE: self})

    async def run(self) -> None:
        """Serve it to its end; what breaks it is logged, and harms no other."""
        try:
            await super().run()
        except BaseExceptionGroup as group:
            cancelled, broken = group.split(trio.Cancelled)
            if broken is not None:
                log.error("a connection failed", exc_info=broken)
            if cancelled is not None:
                raise cancelled from None
        except Exception as error:
            log.error("a connection failed", exc_info=error)

    async def _read_data(self) -> None:
        """Read until the client is gone; nobody waits then for its next request.

        Hypercorn would keep the socket for as long as an idle connection may live.
        """
        await super()._read_data()
        self._over = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        """Write bytes, or do what else the protocol wants of the connection."""
        if isinstance(event, Updated) and self._over:
            return
        if not isinstance(event, RawData):
            await super().protocol_send(event)
        elif not await self._sent(event.data):
            await self.protocol.handle(Closed())

    @property
    def unsent(self) -> bool:
        """``write_now`` has left something."""
        return bool(self._rest)

    def write_now(self, data: bytes) -> bool:
        """Write without waiting; whether all was taken. The rest precedes the next write.

        A connection that broke takes nothing; the next write finds out.
        """
        if not (self._rest or self.send_lock.locked()):
            try:
                taken = os.write(self.stream.socket.fileno(), data)
            except OSError:
                taken = 0
            if taken == len(data):
                return True
            data = data[taken:]
        self._rest += data
        return False

    async def flush(self) -> None:
        """Write what ``write_now`` left."""
        await self.protocol_send(RawData(b""))

    async def _sent(self, data: bytes) -> bool:
        sent = False
        try:
            async with self.send_lock:
                self._patience.begin(self)
                data, self._rest = self._rest + data, b""
                try:
                    await self.stream.send_all(data)
                finally:
                    self._patience.end(self)
                sent = True
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass  # broken, closed, or just being closed
        finally:
            if not sent:  # half a write would garble what follows
                await trio.aclose_forcefully(self.stream)
        return sent


async def serve_http(
    app: Any,
    sock: socket.socket,
    told: Callable[[], Awaitable[None]],
    *,
    patience: float = 60.0,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer at ``sock``, which listens and is closed at the end, until ``told`` returns.

    Args:
        app: an ASGI application; its lifespan is inside this call.
        patience: seconds one write to a client may take.
    """
    config, context = http_config(), WorkerContext(None)
    wrapped = wrap_app(app, 0, "asgi")
    state = LifespanState({})
    lifespan = Lifespan(wrapped, config, state)
    watch = Patience(patience)
    handler = functools.partial(Line, watch, wrapped, config, context, ConnectionState(state))
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    async with listener, trio.open_nursery() as outer:
        await outer.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as acceptor:
                acceptor.start_soon(watch.run)
                serve = functools.partial(trio.serve_listeners, handler_nursery=connections)
                await acceptor.start(serve, handler, [listener])
                task_status.started()
                await told()
                acceptor.cancel_scope.cancel()
            await context.terminated.set()  # idle connections close themselves
            connections.cancel_scope.deadline = trio.current_time() + CLOSING_GRACE
        await lifespan.wait_for_shutdown()
        outer.cancel_scope.cancel()
