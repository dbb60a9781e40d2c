"""``trillama list``: the models of the store, newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .client import Client
from .console import human_bytes, human_time, json_text, table

ID_LENGTH = 12


def installed(client: Client, prefix: str = "", *, as_json: bool = False) -> str:
    """The table of installed models whose name begins with ``prefix``, in any case."""
    models = client.call("GET", "/api/tags")["models"] or []
    wanted = [model for model in models if model["name"].lower().startswith(prefix.lower())]
    if as_json:
        return json_text(wanted)
    return table(("NAME", "ID", "SIZE", "MODIFIED"), [_row(model) for model in wanted])


def _row(model: dict[str, Any]) -> tuple[str, str, str, str]:
    size = "-" if model.get("remote_model") else human_bytes(model["size"])
    modified = human_time(datetime.fromisoformat(model["modified_at"]))
    return model["name"], model["digest"][:ID_LENGTH], size, modified
