"""Who may speak to the server from a browser: CORS and the check against DNS rebinding.

Pure decisions on headers, made by ``connection`` before any route is looked up, so that refusals
and preflights hold for unknown paths too. The rules are Ollama's (server/routes.go with gin's cors
middleware); where they differ, docs/differences.md says why.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..base.address import SCHEMES, check_origin
from ..base.errors import SettingError

Header = tuple[bytes, bytes]

ALLOWED_METHODS = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
_STAINLESS = (
    "Arch Async Custom-Poll-Interval Helper-Method Lang Os Package-Version Poll-Helper "
    "Retry-Count Runtime Runtime-Version Timeout"
)
ALLOWED_HEADERS = ",".join(
    ["Authorization", "Content-Type", "User-Agent", "Accept", "X-Requested-With", "Openai-Beta"]
    + [f"X-Stainless-{name}" for name in _STAINLESS.split()]
    + ["X-Api-Key", "Anthropic-Version", "Anthropic-Beta"]
    + ["Anthropic-Dangerous-Direct-Browser-Access"]
)
PREFLIGHT_SECONDS = 12 * 60 * 60
_LOCAL = ("localhost", "127.0.0.1", "0.0.0.0")
_APPS = ("app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*")
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
_PRIVATE = tuple(
    ipaddress.ip_network(net)
    for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a request.

    Attributes:
        status: answer this at once, with no body; None lets the request pass.
        headers: to add to whatever answer is given.
    """

    status: int | None = None
    headers: list[Header] = field(default_factory=list)


class Origins:
    """The origins a browser may call from.

    Args:
        extra: entries of OLLAMA_ORIGINS, each with at most one ``*``.

    Raises:
        SettingError: an entry that could never match.
    """

    def __init__(self, extra: Sequence[str] = ()) -> None:
        local = [f"{s}{h}{p}" for h in _LOCAL for p in ("", ":*") for s in SCHEMES[:2]]
        entries = [*extra, *local, *_APPS]
        for entry in extra:
            try:
                check_origin(entry)
            except ValueError as error:
                raise SettingError(f"OLLAMA_ORIGINS: {error}") from None
        self.everyone = "*" in entries
        self._exact = {entry.lower() for entry in entries if "*" not in entry}
        patterns = [entry.partition("*") for entry in entries if "*" in entry]
        self._patterns = [(prefix, suffix) for prefix, _, suffix in patterns]

    def allows(self, origin: str) -> bool:
        """Whether pages of ``origin`` may call."""
        return origin in self._exact or any(
            len(origin) >= len(prefix) + len(suffix)
            and origin.startswith(prefix)
            and origin.endswith(suffix)
            for prefix, suffix in self._patterns
        )

    def judge(self, method: str, origin: str, host: str) -> Verdict:
        """CORS for one request; ``origin`` is "" where the header is missing."""
        if not origin or origin in (f"http://{host}", f"https://{host}"):
            return Verdict()
        if not self.allows(origin):
            return Verdict(403)
        allow = (b"access-control-allow-origin", b"*" if self.everyone else origin.encode())
        if method != "OPTIONS":
            return Verdict(None, [allow] if self.everyone else [allow, (b"vary", b"Origin")])
        return Verdict(204, [allow, *_preflight(self.everyone)])


def _preflight(everyone: bool) -> list[Header]:
    names = ("Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers")
    return [
        (b"access-control-allow-methods", ALLOWED_METHODS.encode()),
        (b"access-control-allow-headers", ALLOWED_HEADERS.encode()),
        (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
        *((b"vary", name.encode()) for name in ([] if everyone else names)),
    ]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address of a text; an IPv4 one in IPv6's clothes is what it is."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name if colon and ":" not in name and (port.isdigit() or not port) else host


@functools.lru_cache(maxsize=64)
def _is_ours(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an interface of this machine has the address: only then can a socket bind to it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def judge_host(listener: str, method: str, host: str) -> Verdict:
    """The guard against DNS rebinding: a page that renamed itself to our address.

    Args:
        listener: the address the request came in at; "" when it is not known.
        host: the Host header.
    """
    bound = _address(listener)
    if bound is None or not bound.is_loopback:
        return Verdict()
    name = _without_port(host)
    address = _address(name)
    if address is not None:
        local = address.is_loopback or address.is_unspecified
        near = local or any(address in net for net in _PRIVATE if net.version == address.version)
        return Verdict() if near or _is_ours(address) else Verdict(403)
    name = name.lower()
    known = ("", "localhost", socket.gethostname().lower())
    if name in known or name.endswith(_LOCAL_SUFFIXES):
        return Verdict(204 if method == "OPTIONS" else None)
    return Verdict(403)


class Guard:
    """Both checks, in Ollama's order."""

    def __init__(self, origins: Sequence[str] = ()) -> None:
        self._origins = Origins(origins)

    def judge(self, method: str, headers: dict[bytes, bytes], listener: str) -> Verdict:
        """Decide on one request; names in ``headers`` are in lower case."""
        host = headers.get(b"host", b"").decode("latin1")
        origin = headers.get(b"origin", b"").decode("latin1")
        verdict = self._origins.judge(method, origin, host)
        if verdict.status is not None:
            return verdict
        return Verdict(judge_host(listener, method, host).status, verdict.headers)
