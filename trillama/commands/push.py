"""``trillama push``: a model to the registry its name says."""

from __future__ import annotations

from trillama.base.errors import TrillamaError
from trillama.base.names import DEFAULT_HOST, parse_name

from .client import Client, ServerRefused
from .progress import Shower
from .signin import signin_hint

OURS = (".ollama.ai", ".ollama.com")
FORBIDDEN = (
    "you are not authorized to push to this namespace, create the model under a namespace you own"
)


def push_model(client: Client, model: str, *, insecure: bool = False, quiet: bool = False) -> str:
    """Push a model and show how far it is; returns what is to be said at the end.

    Raises:
        TrillamaError: it cannot be brought there.
    """
    name = parse_name(model)
    if name.host.endswith(OURS) and (hint := signin_hint(client)):
        return f"You need to be signed in to push models to ollama.com.\n\n{hint}"
    try:
        with Shower(quiet=quiet) as shower:
            for record in client.stream("/api/push", {"model": model, "insecure": insecure}):
                shower.record(record)
    except ServerRefused as error:
        if "access denied" in error.reason or "unauthorized" in error.reason:
            raise TrillamaError(FORBIDDEN) from None
        raise
    where = name.full
    if name.host == DEFAULT_HOST:
        where = f"https://ollama.com/{name.short.removesuffix(':latest')}"
    return f"\nYou can find your model at:\n\n\t{where}\n"
