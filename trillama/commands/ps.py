"""``trillama ps``: the models in memory, and until when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .client import Client
from .console import human_bytes, human_time, json_text, table
from .list import ID_LENGTH


def running(client: Client, prefix: str = "", *, as_json: bool = False) -> str:
    """The table of loaded models whose name begins with ``prefix``."""
    models = client.call("GET", "/api/ps")["models"] or []
    wanted = [model for model in models if model["name"].startswith(prefix)]
    if as_json:
        return json_text(wanted)
    headers = ("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL")
    return table(headers, [_row(model) for model in wanted])


def processor(size: int, size_vram: int) -> str:
    """Where the weights are: ``100% GPU``, ``100% CPU``, or the share of each."""
    if size_vram == 0:
        return "100% CPU"
    if size_vram == size:
        return "100% GPU"
    if size_vram > size or size == 0:
        return "Unknown"
    cpu = round((size - size_vram) / size * 100)
    return f"{cpu}%/{100 - cpu}% CPU/GPU"


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    expires = datetime.fromisoformat(model["expires_at"])
    until = "Stopping..." if expires < datetime.now(UTC) else human_time(expires)
    return (
        model["name"],
        model["digest"][:ID_LENGTH],
        human_bytes(model["size"]),
        processor(model["size"], model["size_vram"]),
        str(model["context_length"]),
        until,
    )
