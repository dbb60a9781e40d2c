"""What can go wrong with a registry."""

from __future__ import annotations

from trillama.base.errors import TrillamaError

SHOWN = 1000


class RegistryError(TrillamaError):
    """The registry refused, or what it said cannot be used."""

    code = "registry_error"


class Transient(RegistryError):
    """The network or the registry failed in a way that may pass.

    Attributes:
        retry_after: seconds the registry asked to be left alone, or 0.
    """

    code = "registry_unreachable"

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Stalled(Transient):
    """Bytes stopped coming; asking again on a new connection is no retry."""


class Missing(RegistryError):
    """The registry has no such model or blob."""

    code = "registry_not_found"


class Unauthorized(RegistryError):
    """The registry does not let us."""

    code = "registry_unauthorized"


class AddressRefused(RegistryError):
    """The address is on a network that registries may not lead to."""

    code = "address_refused"


class DigestMismatch(RegistryError):
    """A blob is not what its name says."""

    code = "digest_mismatch"


class Offline(TrillamaError):
    """The settings allow no outbound connection."""

    status = 403
    code = "offline"

    def __init__(self) -> None:
        super().__init__("trillama is offline: the setting OFFLINE forbids outbound connections")


class KeyTrouble(TrillamaError):
    """The key of this machine cannot be read or made; the message says where and why."""

    code = "key_trouble"


def printable(data: bytes) -> str:
    """Words of a registry, fit to be shown: no control characters, and not too many."""
    text = data.decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)[:SHOWN]
