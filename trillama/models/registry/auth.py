"""How a registry asks who we are, and what is answered: pure functions.

A 401 carries a challenge; ``Bearer`` names a realm, where a token is to be had. A realm is a URL
that a stranger wrote: a token is asked for at the registry's own host alone, or where the table
below or the settings say that the two belong together. Facts: Ollama's server/auth.go and the
distribution specification.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from trillama.base.registries import Registry

from .errors import RegistryError, Unauthorized

SAME_HOUSE = {("hf.co", "huggingface.co")}
"""Registries whose realm is at another host of the same owner."""

_PAIR = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')
_EMPTY_BODY = base64.b64encode(
    b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
).decode()
"""The hex text of SHA-256 of nothing, which is what the body of a GET is."""


class Challenge(msgspec.Struct, frozen=True):
    """A ``WWW-Authenticate`` header; ``scheme`` in lower case."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


class TokenReply(msgspec.Struct):
    """What a realm answers; registries use either field."""

    token: str = ""
    access_token: str = ""


def parse_challenge(header: str) -> Challenge:
    """Read the header; what is missing is empty."""
    scheme, _, rest = header.strip().partition(" ")
    found = {name.lower(): quoted or plain for name, quoted, plain in _PAIR.findall(rest)}
    known = {name: found[name] for name in ("realm", "service", "scope") if name in found}
    return Challenge(scheme.lower(), **known)


def check_realm(realm: str, registry: Registry, known: frozenset[str]) -> None:
    """See that a token may be asked for at ``realm``.

    Args:
        known: hosts of the settings.

    Raises:
        RegistryError: it belongs to somebody else, or is not as safe as the registry.
    """
    try:
        parts = urlsplit(realm)
        host = parts.netloc.lower()
    except ValueError:
        raise RegistryError("the registry names a realm that is no URL") from None
    trusted = host == registry.netloc or (registry.netloc, host) in SAME_HOUSE
    if not (trusted or (parts.hostname or "") in known):
        raise RegistryError(f'realm host "{host}" does not match original host "{registry.netloc}"')
    if parts.scheme != "https" and parts.scheme != registry.scheme:
        raise RegistryError(f'realm "{realm}" is not as safe as the registry itself')


def token_url(challenge: Challenge, seconds: int, nonce: bytes) -> str:
    """Where the token is, with all that the signature covers.

    Args:
        seconds: the time, since 1970.
        nonce: 16 random bytes.
    """
    parts = urlsplit(challenge.realm)
    fields = parse_qsl(parts.query, keep_blank_values=True)
    fields.append(("service", challenge.service))
    fields += [("scope", scope) for scope in challenge.scope.split(" ")]
    fields.append(("ts", str(seconds)))
    fields.append(("nonce", base64.urlsafe_b64encode(nonce).decode().rstrip("=")))
    return urlunsplit(parts._replace(query=urlencode(sorted(fields, key=lambda pair: pair[0]))))


def text_to_sign(method: str, url: str) -> str:
    """What the key signs for a request without a body."""
    return f"{method},{url},{_EMPTY_BODY}"


def basic(registry: Registry) -> str:
    """Value of an Authorization header with name and password."""
    pair = f"{registry.username}:{registry.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()


def read_token(body: bytes) -> str:
    """The token of a reply.

    Raises:
        Unauthorized: there is none.
    """
    try:
        reply = msgspec.json.decode(body, type=TokenReply)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Unauthorized("unauthorized: the realm's answer holds no token") from None
    token = reply.token or reply.access_token
    if not token or not token.isascii() or not token.isprintable():
        raise Unauthorized("unauthorized: the realm's answer holds no token")
    return token
