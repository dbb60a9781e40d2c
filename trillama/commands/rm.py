"""``trillama rm``: take models out of memory and off the disk."""

from __future__ import annotations

import sys

from trillama.base.errors import NotFound, TrillamaError

from .client import Client, ServerRefused


def remove_model(client: Client, name: str) -> str:
    """Unload and delete one model, and say so.

    Raises:
        ServerRefused: there is no such model, or it cannot be deleted.
    """
    try:
        client.call("POST", "/api/generate", {"model": name, "keep_alive": 0})
    except TrillamaError as error:
        missing = isinstance(error, ServerRefused) and error.status == NotFound.status
        if not missing:
            print(f"Warning: unable to stop model '{name}'", file=sys.stderr)
    client.call("DELETE", "/api/delete", {"model": name})
    return f"deleted '{name}'"
