"""Routes about models and the server itself: ``/``, version, tags, ps."""

from __future__ import annotations

from typing import Any

import trio
from quart import Blueprint, Response

from .. import __version__
from ..base.errors import TrillamaError
from ..base.names import parse_name
from ..engine.base import Backend
from ..models.installed import InstalledModel
from ..nursery_scheduler import Resident
from ..wire.gojson import encode, local_time
from .errors import JSON
from .turn import Desk

RUNNING = "Ollama is running"
"""What Ollama's clients and health checks look for at ``/``."""


def _details(model: InstalledModel) -> dict[str, Any]:
    details = model.details
    return {
        "parent_model": details.parent_model,
        "format": details.format,
        "family": details.family,
        "families": details.families or None,
        "parameter_size": details.parameter_size,
        "quantization_level": details.quantization_level,
    }


def tag_entry(model: InstalledModel) -> dict[str, Any]:
    """One model of ``/api/tags``."""
    details = model.details
    sizes = {"context_length": details.context_length, "embedding_length": details.embedding_length}
    entry = {
        "name": model.name.short,
        "model": model.name.short,
        "modified_at": local_time(model.modified),
        "size": model.size,
        "digest": model.digest,
        "details": {**_details(model), **{name: size for name, size in sizes.items() if size}},
    }
    if model.capabilities:
        entry["capabilities"] = list(model.capabilities)
    return entry


def process_entry(resident: Resident, model: InstalledModel | None, on_gpu: bool) -> dict[str, Any]:
    """One model of ``/api/ps``; ``model`` is None when it was deleted while loaded.

    ``context_length`` is what one request may use: the pool, or what the model was trained for.
    """
    empty = dict.fromkeys(
        ("parent_model", "format", "family", "families", "parameter_size", "quantization_level"), ""
    )
    trained = model.details.context_length if model else 0
    details = {**_details(model), "parent_model": ""} if model else {**empty, "families": None}
    return {
        "name": resident.name,
        "model": resident.name,
        "size": resident.size,
        "digest": model.digest if model else "",
        "details": details,
        "expires_at": local_time(resident.expires_at),
        "size_vram": resident.size if on_gpu else 0,
        "context_length": min(resident.context_length, trained or resident.context_length),
    }


def _json(value: object) -> Response:
    return Response(encode(value), content_type=JSON)


class Library:
    """What the routes below show."""

    def __init__(self, desk: Desk, backend: Backend) -> None:
        self._desk = desk
        self._backend = backend

    async def tags(self) -> list[dict[str, Any]]:
        """Installed models, newest first."""
        await self._desk.ready.wait()
        models = await trio.to_thread.run_sync(self._desk.models.installed)
        return [tag_entry(model) for model in models]

    async def processes(self) -> list[dict[str, Any]]:
        """Loaded models, the one that leaves last first."""
        residents = self._desk.scheduler.residents()
        residents.sort(key=lambda resident: -(resident.expires_at // 1_000_000_000))
        return await trio.to_thread.run_sync(self._process_entries, residents)

    def _process_entries(self, residents: list[Resident]) -> list[dict[str, Any]]:
        if not residents:
            return []
        gpu = any(device.kind in ("gpu", "igpu") for device in self._backend.devices())
        return [
            process_entry(
                resident, self._find(resident.name), gpu and resident.spec.load.gpu_layers != 0
            )
            for resident in residents
        ]

    def _find(self, name: str) -> InstalledModel | None:
        try:
            return self._desk.models.find(parse_name(name))
        except TrillamaError:
            return None


def routes(desk: Desk, backend: Backend) -> Blueprint:
    """The routes, answered from what ``desk`` has and ``backend`` knows of its devices."""
    blueprint = Blueprint("library", __name__)
    library = Library(desk, backend)

    @blueprint.route("/", methods=["GET", "HEAD"])
    async def root() -> Response:
        return Response(RUNNING, content_type="text/plain; charset=utf-8")

    @blueprint.route("/api/version", methods=["GET", "HEAD"])
    async def version() -> Response:
        return _json({"version": __version__})

    @blueprint.route("/api/tags", methods=["GET", "HEAD"])
    async def tags() -> Response:
        return _json({"models": await library.tags()})

    @blueprint.get("/api/ps")
    async def ps() -> Response:
        return _json({"models": await library.processes()})

    return blueprint
