"""One conversation with one registry: requests, redirects, tokens, limits.

Used by every task of a pull or push at once. Each hop of a redirect is a connection of its own, so
the rule of ``network`` judges each. A token is sent to the registry's own origin and nowhere else.
Bodies are never decompressed: a registry that compresses unasked is refused, so a bomb stays small.
"""

from __future__ import annotations

import platform
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import httpcore
import msgspec
import structlog
import trio

from trillama import __version__
from trillama.base.registries import Proxies, Registry

from . import auth
from .errors import KeyTrouble, RegistryError, Transient, Unauthorized, printable
from .network import Connect, Network, Resolve, connect, judge_literal, resolve, tls_context
from .reply import Reply, host_of, refuse, translated

log = structlog.get_logger(__name__)

MAX_REDIRECTS = 10
DOCUMENT_TIMEOUT = 60.0
"""Seconds within which a manifest, a token or any other small answer must be complete."""
TOKEN_CAP = 64 << 10
SILENCE = 60.0
"""Seconds without a byte after which a connection is given up, where nobody says otherwise."""

TRIES = 3
COMPATIBLE = "0.30.3"
"""Ollama's registry gives newer models only to programs that say they are new enough."""
USER_AGENT = f"ollama/{COMPATIBLE} ({platform.machine()} linux) trillama/{__version__}"

_REDIRECTS = (301, 302, 303, 307, 308)
T = TypeVar("T")
Content = bytes | Callable[[], AsyncIterator[bytes]] | None


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request.

    Attributes:
        content: a body, or what makes one for each attempt.
        follow: go where a redirect leads.
        silence: seconds without a byte.
    """

    method: str = "GET"
    url: str
    headers: dict[str, str] = {}
    content: Content = None
    follow: bool = True
    silence: float = SILENCE


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """How a session gets to the world; tests put their own here.

    Attributes:
        sign: makes the value of an Authorization header that signs a text; None signs nothing.
        known: hosts of the settings.
    """

    sign: Callable[[str], Awaitable[str]] | None = None
    known: frozenset[str] = frozenset()
    proxies: Proxies = Proxies()
    resolver: Resolve = resolve
    connector: Connect = connect


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


class Session:
    """A conversation with ``registry``; close it in the end.

    Args:
        connections: at once.
    """

    def __init__(self, registry: Registry, ways: Ways, connections: int = 8) -> None:
        self.registry = registry
        self._ways = ways
        self._token = ""
        self._asking = trio.Lock()
        self._connections = connections
        self._named = frozenset({registry.hostname, *ways.known})
        self._pools: dict[str, httpcore.AsyncConnectionPool] = {}

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            for pool in self._pools.values():
                await pool.aclose()

    async def send(self, ask: Ask) -> Reply:
        """Ask, with a token once one is wanted; any status comes back but 401.

        Raises:
            Unauthorized: the registry does not let us.
            RegistryError: it leads where we do not go, or in circles.
            Transient: it could not be reached.
        """
        for _ in range(2):
            token = self._token
            reply = await self._follow(ask)
            if reply.status != 401 or _origin(reply.url) != _origin(self.registry.base):
                return reply
            async with reply:
                challenge = auth.parse_challenge(reply.headers.get("www-authenticate", ""))
            async with self._asking:
                if self._token == token:
                    self._token = await self._authorize(challenge)
        reply = await self._follow(ask)
        if reply.status == 401:
            async with reply:
                raise Unauthorized("unauthorized: access denied")
        return reply

    async def document(self, ask: Ask, cap: int) -> bytes:
        """The body of a small answer, all of it within a minute.

        Raises:
            Missing: 404.
            RegistryError, Transient: see ``refuse``, or it is too large or too slow.
        """
        with trio.move_on_after(DOCUMENT_TIMEOUT):
            async with await self.send(ask) as reply:
                await refuse(reply)
                return await reply.read(cap)
        raise Transient(f"{host_of(ask.url)} took longer than {DOCUMENT_TIMEOUT:.0f} s to answer")

    async def _follow(self, ask: Ask) -> Reply:
        url = ask.url
        for _ in range(MAX_REDIRECTS + 1):
            reply = await self._once(ask, url)
            place = reply.headers.get("location")
            if not ask.follow or reply.status not in _REDIRECTS or not place:
                return reply
            async with reply:
                url = _next(url, place)
        raise RegistryError(f"maximum redirects exceeded ({MAX_REDIRECTS}) for {ask.url}")

    async def _once(self, ask: Ask, url: str) -> Reply:
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **ask.headers}
        if self._token and _origin(url) == _origin(self.registry.base):
            headers["Authorization"] = self._token
        reply = Reply(await self._request(ask, url, headers), url)
        if reply.headers.get("content-encoding", "identity").lower() != "identity":
            async with reply:
                raise RegistryError(f"{host_of(url)} compresses its answer unasked")
        return reply

    async def _request(self, ask: Ask, url: str, headers: Mapping[str, str]) -> httpcore.Response:
        content = ask.content() if callable(ask.content) else ask.content
        timeout = {"read": ask.silence, "write": ask.silence, "pool": None, "connect": SILENCE}
        with translated(url):
            request = httpcore.Request(
                ask.method,
                url,
                headers=[(b"Host", host_of(url).encode("idna" if not url.isascii() else "ascii"))]
                + [(name.encode(), value.encode("latin1")) for name, value in headers.items()],
                content=content,
                extensions={"timeout": timeout},
            )
            return await self._pool(url).handle_async_request(request)

    def _pool(self, url: str) -> httpcore.AsyncConnectionPool:
        """The connections a request goes over: direct ones, or those of a proxy."""
        place = self._ways.proxies.choose(url)
        if place:
            judge_literal(urlsplit(url).hostname or "", self._named)
        if place not in self._pools:
            parts = urlsplit(place)
            if parts.scheme not in ("", "http", "https"):
                raise RegistryError(f"proxies of the kind {parts.scheme} are not supported")
            auth = (unquote(parts.username or ""), unquote(parts.password or ""))
            bare = parts._replace(netloc=host_of(place)).geturl()
            self._pools[place] = httpcore.AsyncConnectionPool(
                ssl_context=tls_context(),
                max_connections=self._connections + 2,
                keepalive_expiry=30.0,
                network_backend=Network(
                    self._named | {parts.hostname or ""}, self._ways.resolver, self._ways.connector
                ),
                proxy=httpcore.Proxy(bare, auth if parts.username else None) if place else None,
            )
        return self._pools[place]

    async def _authorize(self, challenge: auth.Challenge) -> str:
        """Value of the Authorization header the challenge wants."""
        registry = self.registry
        if challenge.scheme == "basic" and registry.username:
            return auth.basic(registry)
        if challenge.scheme != "bearer" or not challenge.realm:
            raise Unauthorized(
                f"unauthorized: {registry.netloc} wants a name and a password; "
                "put them into the setting REGISTRIES"
            )
        auth.check_realm(challenge.realm, registry, self._ways.known)
        url = auth.token_url(challenge, int(time.time()), secrets.token_bytes(16))
        if registry.username:
            return await self._fetch_token(url, auth.basic(registry))
        signed = await self._signed(url)
        try:
            return await self._fetch_token(url, signed)
        except Unauthorized:
            if not signed:
                raise
            # Registries that know nothing of keys stumble over the header.
            return await self._fetch_token(url, "")

    async def _signed(self, url: str) -> str:
        if self._ways.sign is None:
            return ""
        try:
            return await self._ways.sign(auth.text_to_sign("GET", url))
        except KeyTrouble as error:
            log.warning("no key for the registry", reason=error.message)
            return ""

    async def _fetch_token(self, url: str, authorization: str) -> str:
        headers = {"Authorization": authorization} if authorization else {}
        with trio.move_on_after(DOCUMENT_TIMEOUT):
            ask = Ask(url=url, headers=headers, follow=False)
            response = await self._request(ask, url, {"User-Agent": USER_AGENT, **headers})
            async with Reply(response, url) as reply:
                if reply.status in (400, 401, 403):
                    words = await reply.words()
                    raise Unauthorized(f"unauthorized: {reply.status}: {words}")
                await refuse(reply)
                return f"Bearer {auth.read_token(await reply.read(TOKEN_CAP))}"
        raise Transient(f"{host_of(url)} took longer than {DOCUMENT_TIMEOUT:.0f} s for a token")


def _next(url: str, place: str) -> str:
    """Where a redirect leads.

    Raises:
        RegistryError: to something that is no web address, or from https to http.
    """
    target = urljoin(url, place)
    scheme = urlsplit(target).scheme
    if scheme not in ("http", "https") or not urlsplit(target).hostname:
        raise RegistryError(f"{host_of(url)} leads to {printable(target.encode())}")
    if urlsplit(url).scheme == "https" and scheme == "http":
        raise RegistryError(f"{host_of(url)} leads from https to http")
    return target


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """What ``ask`` gives, at the third try at the latest.

    Raises:
        Transient: of the third.
    """
    for tries in range(1, TRIES):
        try:
            return await ask()
        except Transient as error:
            await trio.sleep(max(float(tries) / 2, min(error.retry_after, 30.0)))
    return await ask()
