"""The only way out: names resolved, addresses judged, connections made.

An address is judged after its name was resolved and the connection goes to that very address, so a
name cannot mean one thing to the judge and another to the socket. Public addresses may be spoken
to; loopback and private ones only for hosts that a user named, in a model's name or in the
settings; link-local ones, where clouds keep their secrets, never.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import httpcore
import trio

from .errors import AddressRefused, RegistryError, Transient

CONNECT_TIMEOUT = 20.0
WIDE_READ = 1 << 18
"""Bytes asked of a socket at once; the HTTP library's own wish costs a third of the speed."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
Connect = Callable[[str, int], Awaitable[trio.abc.Stream]]

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


async def resolve(host: str, port: int) -> list[str]:
    """Addresses of a host, in the system's order."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[4][0]) for place in found))


async def connect(address: str, port: int) -> trio.abc.Stream:
    """A TCP connection."""
    return await trio.open_tcp_stream(address, port)


def _plain(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where there is one."""
    if isinstance(address, ipaddress.IPv6Address):
        if inner := address.ipv4_mapped or address.sixtofour:
            return inner
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def may_speak_to(text: str, *, named: bool) -> bool:
    """Whether a connection to the address may be made.

    Args:
        named: a user named the host it belongs to.
    """
    address = _plain(ipaddress.ip_address(text.partition("%")[0]))
    if address.is_loopback:
        return named
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    if address.is_reserved:
        return False
    return named or address.is_global


def judge_literal(host: str, named: frozenset[str]) -> None:
    """Judge a host that is an address, where a proxy resolves the names.

    Raises:
        AddressRefused: it may not be spoken to.
    """
    try:
        good = may_speak_to(host, named=host.lower() in named)
    except ValueError:
        return
    if not good:
        raise _refused(host, host)


def _refused(host: str, address: str) -> AddressRefused:
    return AddressRefused(
        f"{host} is at {address}, which a registry may not lead to; where that is meant, "
        "name the host in the setting REGISTRIES"
    )


class Network(httpcore.AsyncNetworkBackend):
    """Connections under the rule above.

    Args:
        named: hosts that a user named, in lower case, without ports.
        resolver, connector: how names are resolved and connections made.
    """

    def __init__(
        self,
        named: Iterable[str],
        resolver: Resolve = resolve,
        connector: Connect = connect,
    ) -> None:
        self._named = frozenset(named)
        self._resolve = resolver
        self._connect = connector

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of ``host`` that answers.

        Raises:
            AddressRefused: one of its addresses may not be spoken to.
            Transient: the name does not resolve, or nobody answers.
        """
        trouble: Exception = TimeoutError("timed out")
        for address in await self._addresses(host, port):
            with trio.move_on_after(CONNECT_TIMEOUT):
                try:
                    return Wire(await self._connect(address, port))
                except OSError as error:
                    trouble = error
        raise Transient(f"cannot connect to {host}:{port}: {_words(trouble)}")

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            with trio.fail_after(CONNECT_TIMEOUT):
                found = await self._resolve(host, port)
        except (OSError, UnicodeError, trio.TooSlowError) as error:
            raise Transient(f"cannot resolve {host}: {_words(error)}") from None
        named = host.lower() in self._named
        for address in found:
            if not may_speak_to(address, named=named):
                raise _refused(host, address)
        return found

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise AddressRefused("a registry is not behind a Unix socket")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await trio.sleep(seconds)


def _no_https(host: str | None, error: ssl.SSLError) -> RegistryError:
    """Trouble that trying again does not mend."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return RegistryError(f"{host} cannot be trusted: {error.verify_message}")
    return RegistryError(
        f"{host} speaks no https ({error.reason or error}); "
        "where http is meant, say insecure, or name it in the setting REGISTRIES"
    )


def _words(error: BaseException) -> str:
    inner = getattr(error, "exceptions", None) or getattr(error.__cause__, "exceptions", None)
    told: Any = inner[0] if inner else error
    return str(getattr(told, "strerror", None) or told or type(told).__name__)


@contextlib.contextmanager
def _mapped(
    late: type[Exception], broken: type[Exception], timeout: float | None
) -> Iterator[None]:
    try:
        with trio.fail_after(math.inf if timeout is None else timeout):
            yield
    except trio.TooSlowError as error:
        raise late(str(error)) from error
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError, ssl.SSLError) as error:
        raise broken(_words(error.__cause__ or error)) from error


class Wire(httpcore.AsyncNetworkStream):
    """A connection as the HTTP library wants it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, at least a byte; nothing at the end."""
        with _mapped(httpcore.ReadTimeout, httpcore.ReadError, timeout):
            return bytes(await self._stream.receive_some(max(max_bytes, WIDE_READ)))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of ``buffer``."""
        if buffer:
            with _mapped(httpcore.WriteTimeout, httpcore.WriteError, timeout):
                await self._stream.send_all(buffer)

    async def aclose(self) -> None:
        """Close, without the courtesy of waiting for the other side."""
        await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """The same connection, encrypted."""
        secure = trio.SSLStream(
            self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True
        )
        with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError, timeout):
            try:
                await secure.do_handshake()
            except trio.BrokenResourceError as error:
                if isinstance(error.__cause__, ssl.SSLError):
                    raise _no_https(server_hostname, error.__cause__) from None
                raise
        return Wire(secure)

    def get_extra_info(self, info: str) -> Any:
        """Whether the other side has closed an idle connection, and nothing else."""
        if info == "is_readable":
            stream: Any = self._stream
            stream = getattr(stream, "transport_stream", stream)
            return isinstance(stream, trio.SocketStream) and _readable(stream.socket)
        return None


def _readable(sock: trio.socket.SocketType) -> bool:
    import select

    if sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Certificates of the system and of the HTTP library's bundle; the first call takes its time
    and belongs on a worker thread."""
    return httpcore.default_ssl_context()
