"""Where a server listens, as OLLAMA_HOST says it, and which origins OLLAMA_ORIGINS may name."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

DEFAULT_PORT = 11434
SCHEMES = (
    "http://",
    "https://",
    "chrome-extension://",
    "safari-extension://",
    "moz-extension://",
    "ms-browser-extension://",
)


class Address(msgspec.Struct, frozen=True):
    """Where the server listens or the client connects."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def netloc(self) -> str:
        """``host:port``, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def reachable(self) -> str:
        """The host a client on this machine connects to: loopback for an unspecified address."""
        return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can be meant."""
        return self.reachable in ("127.0.0.1", "::1", "localhost")

    @property
    def url(self) -> str:
        """Base URL a client uses."""
        there = msgspec.structs.replace(self, host=self.reachable)
        return f"{self.scheme}://{there.netloc}{self.path}"


def parse_host(text: str) -> Address:
    """Read OLLAMA_HOST: ``[scheme://]host[:port][/path]``, ``:port`` or nothing.

    Raises:
        ValueError: an unknown scheme, a port outside 0..65535 or not a number, or a host that is
            no name.
    """
    default_port = {"http": 80, "https": 443}
    scheme, there, rest = text.partition("://")
    if not there:
        scheme, rest = "http", text
        fallback = DEFAULT_PORT
    elif scheme in default_port:
        fallback = default_port[scheme]
    else:
        raise ValueError(f"unknown scheme {scheme!r}")
    place, slash, path = rest.partition("/")
    if place.count(":") > 1 and not place.startswith("["):
        place = f"[{place}]"
    parts = urlsplit(f"//{place}")
    port = fallback if parts.port is None else parts.port
    host = parts.hostname or ("127.0.0.1" if not place else "")
    host.encode("idna")  # or looking it up would be no OSError
    return Address(scheme, host, port, (slash + path).rstrip("/"))


def check_origin(entry: str) -> None:
    """See that an entry of OLLAMA_ORIGINS can match something.

    Raises:
        ValueError: it cannot.
    """
    if entry.count("*") > 1:
        raise ValueError(f"only one * is allowed in {entry!r}")
    if "*" not in entry and not entry.startswith(SCHEMES):
        raise ValueError(f"{entry!r} must begin with http:// or https://")
