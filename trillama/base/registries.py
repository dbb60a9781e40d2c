"""Registries: where models are pulled from and pushed to, and what the settings say of them.

An entry of the setting ``REGISTRIES`` is a URL, with name and password where it needs them, for the
registry at its own host; ``HOST=URL`` makes the URL a mirror of HOST, asked first. What stands
there was named by whoever runs the server, so it may lie on a private network.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from .errors import BadRequest


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """One place that speaks the registry protocol.

    Attributes:
        host: the host part of the names it serves, in lower case, with its port.
        netloc: where it is: the same, unless it is a mirror.
        trusted: it stands in the settings.
    """

    host: str
    netloc: str
    scheme: str = "https"
    username: str = ""
    password: str = ""
    trusted: bool = False

    @property
    def base(self) -> str:
        """``scheme://host[:port]``."""
        return f"{self.scheme}://{self.netloc}"

    @property
    def hostname(self) -> str:
        """Of ``netloc``, without its port."""
        return urlsplit(self.base).hostname or ""

    def __repr__(self) -> str:
        return f"<Registry {self.host} at {self.base}>"


def parse_url(text: str) -> SplitResult:
    """The parts of a URL whose port is one.

    Raises:
        ValueError: it has none, in words of ours: those of the library quote the text, where a
            password may stand.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("expected http[s]://[NAME:PASSWORD@]HOST[:PORT]") from None
    return parts


def parse_registry(text: str) -> Registry:
    """Read an entry of the setting.

    Raises:
        ValueError: it is not ``[HOST=]http[s]://[NAME:PASSWORD@]HOST[:PORT]``.
    """
    alias, _, url = text.rpartition("=") if "=" in text.partition("://")[0] else ("", "", text)
    parts = parse_url(url)
    netloc = parts.netloc.rpartition("@")[2].lower()
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected http[s]://[NAME:PASSWORD@]HOST[:PORT], or HOST= before it")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("a registry's URL ends with its host")
    return Registry(
        host=alias.lower() or netloc,
        netloc=netloc,
        scheme=parts.scheme,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        trusted=True,
    )


def places(host: str, known: Iterable[Registry], *, insecure: bool = False) -> list[Registry]:
    """Where to look for models of ``host``: its mirrors, then itself.

    Args:
        known: the setting.
        insecure: speak http to the host itself.

    Raises:
        BadRequest: the host is none.
    """
    folded = host.lower()
    listed = [one for one in known if one.host == folded]
    own = next((one for one in listed if one.netloc == folded), None)
    own = own or Registry(host=folded, netloc=folded)
    if insecure:
        own = msgspec.structs.replace(own, scheme="http")
    try:
        parts = urlsplit(own.base)
        if not parts.hostname or (parts.port is not None and parts.port == 0):
            raise ValueError
    except ValueError:
        raise BadRequest(f'"{host}" is no host') from None
    return [*(one for one in listed if one.netloc != folded), own]


class Proxies(msgspec.Struct, frozen=True):
    """Proxies for outbound requests, as the usual variables name them; "" for none."""

    http: str = ""
    https: str = ""
    bypass: tuple[str, ...] = ()

    def choose(self, url: str) -> str:
        """The proxy a request goes through; "" goes directly, as to this machine always."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        direct = ("localhost", "127.0.0.1", "::1", *self.bypass)
        if any(_covers(rule.strip().lower(), host) for rule in direct):
            return ""
        return self.https if parts.scheme == "https" else self.http


def _covers(rule: str, host: str) -> bool:
    bare = rule.partition(":")[0].lstrip(".") if rule.count(":") < 2 else rule
    return rule == "*" or (bool(bare) and (host == bare or host.endswith(f".{bare}")))
