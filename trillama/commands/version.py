"""``trillama --version``: the server's version, and ours where it differs."""

from __future__ import annotations

from trillama import __version__
from trillama.base.errors import TrillamaError

from .client import Client


def versions(client: Client) -> str:
    """Lines to print; a server that is down is a warning."""
    try:
        there = client.call("GET", "/api/version")["version"]
        lines = [f"trillama version is {there}"]
    except TrillamaError:
        there, lines = "", ["Warning: could not connect to a running trillama instance"]
    if there != __version__:
        lines.append(f"Warning: client version is {__version__}")
    return "".join(f"{line}\n" for line in lines)
