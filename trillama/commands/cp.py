"""``trillama cp``: another name for a model."""

from __future__ import annotations

from .client import Client


def copy_model(client: Client, source: str, destination: str) -> str:
    """Copy, and say so.

    Raises:
        ServerRefused: there is no such model, or a name is none.
    """
    client.call("POST", "/api/copy", {"source": source, "destination": destination})
    return f"copied '{source}' to '{destination}'"
