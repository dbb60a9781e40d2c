"""``trillama pull``, and pulling what another command finds missing."""

from __future__ import annotations

from collections.abc import Callable

from .client import Client, ServerRefused
from .progress import Shower


def pull_model(client: Client, model: str, *, insecure: bool = False, quiet: bool = False) -> None:
    """Pull a model and show how far it is.

    Raises:
        ServerRefused: it cannot be had.
    """
    body = {"model": model, "insecure": insecure}
    with Shower(quiet=quiet) as shower:
        for record in client.stream("/api/pull", body):
            if record.get("completed") or not record.get("digest"):
                shower.record(record, ":" if record.get("digest") else "")


def print_urls(client: Client, model: str, *, insecure: bool = False) -> str:
    """A line with the URL of each blob, for those who fetch by other means."""
    body = {"model": model, "insecure": insecure, "print_urls": True}
    found = client.call("POST", "/api/pull", body)
    return "".join(f"{blob['url']}\n" for blob in found["blobs"])


def pulling(
    client: Client, model: str, work: Callable[[], None], *, insecure: bool, quiet: bool = False
) -> None:
    """Do ``work`` with a model, and once more after a pull where it is not installed.

    Raises:
        ServerRefused: of the work, or of the pull.
    """
    try:
        return work()
    except ServerRefused as error:
        if error.status != 404:
            raise
    pull_model(client, model, insecure=insecure, quiet=quiet)
    return work()
