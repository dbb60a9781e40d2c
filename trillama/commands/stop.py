"""``trillama stop``: unload a model as soon as its running answers have ended."""

from __future__ import annotations

from trillama.base.errors import NotFound

from .client import Client, ServerRefused


def stop_model(client: Client, name: str) -> None:
    """Unload ``name``; silent when it was not loaded.

    Raises:
        NotFound: there is no such model.
    """
    try:
        client.call("POST", "/api/generate", {"model": name, "keep_alive": 0})
    except ServerRefused as error:
        if error.status == NotFound.status:
            raise NotFound(f'couldn\'t find model "{name}" to stop') from None
        raise
