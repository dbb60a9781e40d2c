"""The application: rooms wired together, and the life of the server around them.

``create_app`` joins store, scheduler and routes; its lifespan runs the scheduler. ``serve`` is the
process: it binds, logs, listens until told to stop, drains, and returns.
Never: answers a request itself, or knows what a model is.
SIGTERM or SIGINT begins the drain: new requests are refused with 503, running answers may end
within the drain time, then they end with an error line; a second signal ends them at once.

    lifespan nursery -+- scheduler.run -- one task for each loaded model
                      +- import of the bundled model, once
                      +- transfers -- one task for each blob that is being pulled
    server           -+- acceptor
                      +- each connection -- each request: listener | route, then body
"""

from __future__ import annotations

import errno
import math
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import trio

from . import __version__
from .api import (
    anthropic,
    blobs,
    editing,
    embeddings,
    library,
    llama_server,
    metrics,
    native,
    openai,
    registry,
    rerank,
    tokens,
)
from .api.connection import Application
from .api.desk import Desk, Models
from .api.guards import Guard
from .api.listener import BACKLOG, serve_http
from .base.address import Address
from .base.durations import FOREVER, SECOND
from .base.errors import ShuttingDown, TrillamaError
from .base.logs import configure_logs
from .base.names import ModelReference
from .base.progress import Tell
from .base.settings import Settings
from .engine.base import Backend, Device, LoadParams, Model, ProgressHook
from .engine.heaps import use_one_heap
from .models.bundled import ensure_bundled
from .models.pruning import mend_names
from .models.registry.account import Account
from .models.registry.pull import Puller, PullRequest
from .models.registry.push import Pusher
from .models.registry.transfers import Transfers
from .models.store import ModelStore
from .models.validation import validate_weights
from .nursery_scheduler import Room, Scheduler, SchedulerLimits
from .residency.ledger import FILE as LEDGER
from .residency.ledger import Ledger
from .runner_pool import RunnerPool

log = structlog.get_logger(__name__)


class LazyBackend:
    """llama.cpp, imported when the first model is loaded, on the thread that loads it."""

    def _backend(self) -> Backend:
        from .engine.llama import LlamaBackend

        return LlamaBackend()

    def load(self, path: str, params: LoadParams, progress: ProgressHook | None = None) -> Model:
        """See :class:`~trillama.engine.base.Backend`; only a file that was checked gets there."""
        validate_weights(Path(path))
        return self._backend().load(path, params, progress)

    def devices(self) -> list[Device]:
        """See :class:`~trillama.engine.base.Backend`."""
        return self._backend().devices()

    def version(self) -> str:
        """See :class:`~trillama.engine.base.Backend`."""
        return self._backend().version()


class PortInUse(TrillamaError):
    """Another program listens at our address."""

    code = "port_in_use"


class Server:
    """One application with its scheduler, from start to drained.

    Attributes:
        app: what the HTTP server calls.
        broken: a part without which nothing works has failed; the process must end.
    """

    def __init__(
        self, settings: Settings, backend: Backend, store: Models, ledger: Ledger | None = None
    ) -> None:
        self.settings = settings
        self.store = store
        self.pool = RunnerPool(backend)
        self.scheduler = Scheduler(
            self.pool,
            SchedulerLimits(
                max_loaded=settings.max_loaded_models,
                max_queue=settings.max_queue,
                keep_alive=settings.keep_alive,
                load_timeout=settings.load_timeout,
            ),
            room=Room(
                backend.devices,
                limit=settings.memory_limit,
                overhead=settings.gpu_overhead,
                spread=settings.sched_spread,
                ledger=ledger,
            ),
        )
        self.desk = Desk(store, self.scheduler, settings)
        self.transfers: Transfers | None = None
        self.broken = trio.Event()
        self._scope = trio.CancelScope()
        served, access_log = self.desk.meter.served, settings.access_log
        self.app = Application(Guard(settings.origins), served, access_log=access_log)
        self._register_answering(backend)
        if isinstance(store, ModelStore):
            self._register_editing(store)
        self.app.before_serving(self._start)
        self.app.after_serving(self._stop)

    def _register_answering(self, backend: Backend) -> None:
        """The routes that need no more than the desk."""
        self.app.register_blueprint(native.routes(self.desk))
        self.app.register_blueprint(embeddings.routes(self.desk))
        self.app.register_blueprint(rerank.routes(self.desk))
        self.app.register_blueprint(tokens.routes(self.desk))
        self.app.register_blueprint(llama_server.routes(self.desk))
        self.app.register_blueprint(library.routes(self.desk, backend))
        self.app.register_blueprint(metrics.routes(self.desk.meter))
        self.app.register_blueprint(openai.routes(self.desk))
        self.app.register_blueprint(anthropic.routes(self.desk))

    def _register_editing(self, store: ModelStore) -> None:
        """The routes that change the store, and what they need."""
        self.transfers = Transfers(store.blobs, self.settings, crowded=self.pool.crowds)
        puller = Puller(store, self.transfers)

        async def pull(wanted: ModelReference, tell: Tell) -> None:
            await puller.pull(PullRequest(wanted), tell)

        bring = None if self.settings.offline else pull
        self.app.register_blueprint(editing.routes(self.desk, store, bring))
        self.app.register_blueprint(blobs.routes(store.blobs))
        pusher = Pusher(store, self.transfers)
        self.app.register_blueprint(registry.routes(puller, pusher))
        self.app.register_blueprint(registry.account_routes(Account(self.transfers)))

    async def _start(self) -> None:
        await self.app.nursery.start(self._live)
        self.app.nursery.start_soon(self._open_store)
        if self.transfers:
            await self.app.nursery.start(self.transfers.run)

    async def _stop(self) -> None:
        self._scope.cancel()
        self.pool.close()

    async def _live(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with self._scope:
                await self.scheduler.run(task_status=task_status)
        except Exception:
            log.exception("the scheduler failed")
        finally:
            if not self._scope.cancel_called:
                self.broken.set()

    async def _open_store(self) -> None:
        """Clear away what a crash left behind, see that the bundled model is there, and load what
        is to be there from the start."""
        try:
            if isinstance(self.store, ModelStore):
                await trio.to_thread.run_sync(_prepare, self.store)
        finally:
            self.desk.ready.set()
        for name in self.settings.preload:
            try:
                await self.desk.preload(name)
            except TrillamaError as error:
                log.warning("not preloaded", model=name, reason=error.message)

    async def drain(self) -> None:
        """Refuse new requests and let running ones end, for as long as the settings allow.

        Pulls and the like are not waited for: they may take hours, and go on where they were.
        """
        self.app.draining = True
        self.scheduler.begin_drain()
        wait = self.settings.drain_timeout
        patience = math.inf if wait == FOREVER else wait / SECOND
        if not await self.scheduler.wait_drained(trio.current_time() + patience):
            log.warning("the drain time is over; running answers were ended")
        for end in tuple(self.app.operations):
            end(ShuttingDown())


def _prepare(store: ModelStore) -> None:
    steps: tuple[tuple[str, Callable[[ModelStore], object]], ...] = (
        ("old names of blobs not mended", lambda store: mend_names(store.blobs)),
        ("bundled model not installed", ensure_bundled),
        ("not pruned", _prune),
    )
    for what, work in steps:
        try:
            work(store)
        except TrillamaError as error:
            log.warning(what, reason=error.message)
        except Exception as error:  # the server is of use without it
            log.warning(what, exc_info=error)


def _prune(store: ModelStore) -> None:
    if not store.noprune and (count := store.prune()):
        log.info("stale files removed", count=count)


def create_app(settings: Settings, backend: Backend, store: Models) -> Application:
    """The application; running its lifespan makes it work."""
    return Server(settings, backend, store).app


# -- the process ----------------------------------------------------------------------------------


def listen(address: Address) -> socket.socket:
    """A socket that listens at ``address``; an empty host means every interface, IPv6 included.

    Raises:
        PortInUse: another program has it; the message says what to do.
        TrillamaError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in address.host or not address.host else socket.AF_INET
    if not address.host and not socket.has_dualstack_ipv6():
        family = socket.AF_INET
    try:
        found = socket.getaddrinfo(
            address.host or None, address.port, family if not address.host else 0,
            socket.SOCK_STREAM, flags=socket.AI_PASSIVE,
        )  # fmt: skip
        return _bound(found[0], dual=not address.host)
    except OSError as error:
        raise _bind_error(address, error) from None


def _bound(place: Any, *, dual: bool) -> socket.socket:
    family, kind, protocol, _, where = place
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if dual and family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(where)
        sock.listen(BACKLOG)  # two sockets that do not listen may be bound to one address
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_error(address: Address, error: OSError) -> TrillamaError:
    if error.errno != errno.EADDRINUSE:
        return TrillamaError(f"cannot listen at {address.netloc}: {error.strerror or error}")
    return PortInUse(
        f"cannot listen at {address.netloc}: another program does, most likely Ollama or another "
        "trillama server. Stop it, or choose another port: OLLAMA_HOST=127.0.0.1:11435 trillama "
        "serve (clients find it by the same variable)"
    )


async def run_server(
    server: Server,
    sock: socket.socket,
    stop: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer at ``sock`` until ``stop`` is set or the server is broken, then drain and return."""

    async def told() -> None:
        async with trio.open_nursery() as nursery:
            for event in (stop, server.broken):
                nursery.start_soon(_cancel_after, event, nursery.cancel_scope)
        await server.drain()

    stall = server.settings.stall_timeout
    patience = math.inf if stall in (0, FOREVER) else stall / SECOND
    await serve_http(server.app, sock, told, patience=patience, task_status=task_status)


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _watch_signals(server: Server, stop: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        async for number in received:
            log.info("stopping", signal=signal.Signals(number).name, at_once=stop.is_set())
            if stop.is_set():
                await server.scheduler.wait_drained(trio.current_time())
            stop.set()


async def _main(server: Server, sock: socket.socket) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_signals, server, stop)
        await run_server(server, sock, stop)
        nursery.cancel_scope.cancel()


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; returns when everything is drained.

    Raises:
        PortInUse: the address is taken.
        TrillamaError: the server broke; the log says how.
    """
    use_one_heap()
    configure_logs(settings.log_format, settings.debug)
    sock = listen(settings.address)
    store = ModelStore(
        Path(settings.models), noprune=settings.noprune, wants_go=settings.go_template
    )
    server = Server(settings, LazyBackend(), store, Ledger(store.root / LEDGER))
    where = {"address": settings.address.url, "models": settings.models}
    log.info("listening", version=__version__, **where)
    trio.run(_main, server, sock)
    if server.broken.is_set():
        raise TrillamaError("the server broke; its log says how")
