"""One HTTP request from its first header to its last byte: what stands around every route.

Quart calls it for each request. It asks the guard, refuses while the server drains, gives the
request an id, keeps uploads from filling memory, writes one access line, and closes whatever the
request has opened, by whatever road it is left: the end, an error, or a hang-up, which cancels the
route and the body alike. It never looks into a body and knows no dialect.
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar, cast

import structlog
import trio
from quart import Response
from quart import request as current_request
from quart.routing import QuartRule
from quart.utils import encode_headers
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioRequest
from quart_trio.wrappers.request import TrioBody

from ..base.errors import ShuttingDown, TrillamaError
from .errors import Encoded, SlowBody, TooLarge, clean_path, empty, error_response, register, told
from .express import express
from .guards import Guard
from .packed import encoding_of, unpacked
from .streaming import EventBody

log = structlog.get_logger("trillama.access")

MAX_BODY = 64 << 20
"""Bytes of a request body: pictures fit, a runaway client does not."""

BIG_BODY = 1 << 18
"""Bytes from which decoding is left to a thread."""

HIGH_MARK = 1 << 20
"""Bytes of a body that may wait for the route before reading from the client stops."""

BODY_PATIENCE = 60.0
"""Seconds without a byte of a body after which the client is given up."""
NO_ROUTE = "none"
HUNG_UP = 499
VISIT = "trillama.visit"

_ABSOLUTE = re.compile(r"(?i:https?)://(?P<host>[^/]+)(?P<path>/.*)?", re.DOTALL)
"""A target as a proxy gets it, which servers have to take too."""

_T = TypeVar("_T")

_BOOT = secrets.token_hex(3)
_count = itertools.count(1)


class Visit:
    """What is known of a request, and what it holds.

    Attributes:
        id: unique while the server lives; on every log line of the request.
        held: closed, by plain calls, when the request is left.
        nursery: tasks of the request's own; they end with it.
        started: monotonic nanoseconds.
        asked: the same moment on trio's clock.
        status: of the answer, 0 before there is one.
    """

    __slots__ = ("asked", "held", "id", "nursery", "started", "status")
    nursery: trio.Nursery

    def __init__(self, held: ExitStack) -> None:
        self.id = f"{_BOOT}-{next(_count)}"
        self.held = held
        self.started = time.monotonic_ns()
        self.asked = trio.current_time()
        self.status = 0


class Body(TrioBody):
    """A request body that tells when its buffer has room again."""

    def __init__(self, expected: int | None, limit: int | None) -> None:
        super().__init__(expected, limit)
        self._room = trio.Event()

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._room.set()
        return data

    async def wait_for_room(self) -> None:
        """Wait until the route has taken what came before."""
        while len(self._data) > HIGH_MARK:
            self._room = trio.Event()
            await self._room.wait()


class Request(TrioRequest):
    """A request whose body is read with back-pressure."""

    body_class = Body  # type: ignore[assignment]


class Connection(TrioASGIHTTPConnection):
    """Quart's connection with our front door; see the module's text."""

    app: Application
    _complete = False
    _request: Any = None

    async def __call__(self, receive: Any, send: Any) -> None:
        """Serve one request."""
        with ExitStack() as held:
            visit = Visit(held)
            self._visit = cast("dict[str, Any]", self.scope)[VISIT] = visit
            with structlog.contextvars.bound_contextvars(request_id=visit.id):
                try:
                    await self._serve(receive, send)
                finally:
                    self._report()

    async def _serve(self, receive: Any, send: Any) -> None:
        headers = {name.lower(): value for name, value in self.scope["headers"]}
        if target := _ABSOLUTE.fullmatch(self.scope["path"]):  # fact: RFC 9112, 3.2.2
            headers[b"host"] = target["host"].encode("latin1", "replace")
            self.scope["path"] = target["path"] or "/"
        listener = (self.scope.get("server") or ("",))[0] or ""
        verdict = self.app.guard.judge(self.scope["method"], headers, listener)
        self._extra = [*verdict.headers, (b"x-request-id", self._visit.id.encode())]
        refusal = self._refusal(verdict.status, headers)
        if refusal is not None:
            await self._send(send, refusal)
            return
        request = self._request = self._create_request_from_scope(send)
        async with trio.open_nursery() as nursery:
            self._visit.nursery = nursery
            nursery.start_soon(self._listen, nursery, request, receive)
            nursery.start_soon(self._answer, nursery, request, send)

    def _refusal(self, status: int | None, headers: dict[bytes, bytes]) -> Response | None:
        if status is not None:
            return empty(status)
        path = self.scope["path"]
        if clean_path(path) != path:
            query = self.scope["query_string"].decode("latin1")
            target = clean_path(path) + (f"?{query}" if query else "")
            return empty(307, {"Location": target})
        if self.app.draining:
            return error_response(ShuttingDown(), path)
        try:
            encoding_of(headers.get(b"content-encoding", b"").decode("latin1"), path)
        except Encoded as error:
            return error_response(error, path)
        return None

    def _report(self) -> None:
        status, method = self._visit.status or HUNG_UP, self.scope["method"]
        route = self._request.url_rule if self._request else None
        self.app.served(method if route else NO_ROUTE, route.rule if route else NO_ROUTE, status)
        if self.app.access_log:
            log.info(
                "request",
                method=method,
                path=self.scope["path"],
                status=status,
                ms=round((time.monotonic_ns() - self._visit.started) / 1e6, 2),
            )

    async def _listen(self, nursery: trio.Nursery, request: Any, receive: Any) -> None:
        """Feed the body to the request; a hang-up cancels everything."""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                if not self._complete:
                    nursery.cancel_scope.cancel()
                return
            request.body.append(message.get("body", b""))
            if not message.get("more_body", False):
                request.body.set_complete()
            await request.body.wait_for_room()

    async def _answer(self, nursery: trio.Nursery, request: Any, send: Any) -> None:
        """Run the route and send what it gives; a stream has no time limit."""
        try:
            response = await self.app.handle_request(request)
        except Exception as error:
            response = error_response(told(error), self.scope["path"])
        await self._send(send, response)
        nursery.cancel_scope.cancel()

    async def _send(self, send: Any, response: Any) -> None:
        self._visit.status = response.status_code
        headers = [*encode_headers(response.headers), *self._extra]
        start = {"type": "http.response.start", "status": response.status_code, "headers": headers}
        await send(start)
        async with response.response as body:
            if isinstance(body, EventBody) and response.content_length is None:
                body.express = express(self.scope)
            async for data in body:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        # Hypercorn says "disconnect" at the end of every request too, while it makes the connection
        # ready for the next one; to be cancelled there would leave it without its idle timer.
        self._complete = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _no_url(*_: object, **__: object) -> tuple[str, str]:
    raise NotImplementedError("routes are only matched here")


class ExactRule(QuartRule):
    """A rule without the HEAD and OPTIONS that the framework would add unasked, and without the two
    functions that make URLs of it: to compile them took longer than all else at the start."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        asked = {method.upper() for method in kwargs.get("methods") or ("GET",)}
        super().__init__(*args, **kwargs)
        self.methods = asked

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _no_url


class Application(QuartTrio):
    """The web application: Quart with our connection, request and rules.

    Attributes:
        guard: who may speak from a browser.
        draining: new requests are refused.
        operations: calls that end a long operation, and tell its reader why.
        access_log: one log line for each request.
        served: told of each request when it is over: method, route and status; ``NO_ROUTE`` stands
            for both where there is none, since a client may make up any.
    """

    asgi_http_class = Connection
    request_class = Request
    url_rule_class = ExactRule

    def __init__(
        self, guard: Guard, served: Callable[[str, str, int], None], *, access_log: bool
    ) -> None:
        super().__init__(__package__ or "trillama", static_folder=None)
        self.guard = guard
        self.draining = False
        self.operations: set[Callable[[TrillamaError], None]] = set()
        self.access_log = access_log
        self.served = served
        self.config.update(
            MAX_CONTENT_LENGTH=None,  # each route has its own limit; uploads have back-pressure
            PROVIDE_AUTOMATIC_OPTIONS=False,
            RESPONSE_TIMEOUT=None,
        )
        self.url_map.strict_slashes = True
        self.url_map.merge_slashes = False
        register(self)


def visit() -> Visit:
    """The request that is being served."""
    return cast("Visit", cast("dict[str, Any]", current_request.scope)[VISIT])


async def read_body(limit: int) -> bytes:
    """The whole body.

    Args:
        limit: bytes it may have.

    Raises:
        TooLarge: more than ``limit``.
        SlowBody: it stopped coming.
    """
    if (current_request.content_length or 0) > limit:
        raise TooLarge(f"the request body is larger than {limit} bytes")
    data = bytearray()
    body = aiter(current_request.body)
    while True:
        with trio.move_on_after(BODY_PATIENCE) as waiting:
            chunk = await anext(body, b"")
        if waiting.cancelled_caught:
            raise SlowBody("the request body stopped coming")
        if not chunk:
            return bytes(data)
        data += chunk
        if len(data) > limit:
            raise TooLarge(f"the request body is larger than {limit} bytes")


async def read_as(decode: Callable[[bytes], _T]) -> _T:
    """The body, unpacked and decoded."""
    body = await read_body(MAX_BODY)
    header = current_request.headers.get("Content-Encoding", "")
    if encoding := encoding_of(header, current_request.path):
        body = await trio.to_thread.run_sync(unpacked, body, encoding, MAX_BODY)
    if len(body) < BIG_BODY:
        return decode(body)
    return await trio.to_thread.run_sync(decode, body)
