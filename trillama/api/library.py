"""Routes that tell of models and the server itself: ``/``, version, tags, ps, show."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import trio
from quart import Blueprint, Response
from quart import request as current_request

from .. import __version__
from ..base.errors import NotFound, TrillamaError
from ..base.names import ModelName, ModelReference, Source, parse_name, parse_reference
from ..engine.base import Backend
from ..models.describe import read_headers
from ..models.installed import InstalledModel
from ..nursery_scheduler import Resident
from ..wire.gojson import encode
from ..wire.library import ShowRequest, read_show
from . import openapi
from .callers import caller
from .connection import read_as
from .desk import Desk
from .entries import Overlay, process_entry, show_entry, tag_entry
from .errors import JSON

SHOWN = 64
"""Answers of show that are kept: clients ask for the same models again and again."""

COPILOT = "GitHubCopilotChat/"
"""A client that takes ``general.basename`` for the name of the model."""

RUNNING = "Ollama is running"
"""What Ollama's clients and health checks look for at ``/``."""


class RemoteDetails(TrillamaError):
    """The model runs elsewhere, where nobody is asked."""

    status = 403
    code = "cloud_disabled"

    def __init__(self) -> None:
        super().__init__("ollama cloud is disabled: remote model details are unavailable")


def _json(value: object) -> Response:
    return Response(encode(value), content_type=JSON)


class Library:
    """What the routes below tell."""

    def __init__(self, desk: Desk, backend: Backend) -> None:
        self._desk = desk
        self._backend = backend
        self._entries: list[tuple[InstalledModel, bytes]] = []
        self._shown: OrderedDict[tuple[ModelName, str, int], bytes] = OrderedDict()

    async def tags(self) -> bytes:
        """Installed models, newest first."""
        await self._desk.ready.wait()
        return await trio.to_thread.run_sync(self._tags)

    def _tags(self) -> bytes:
        models = self._desk.models.installed()
        # A model is one object for as long as its manifest is the same, so identity finds it.
        known = {id(model): (model, entry) for model, entry in self._entries}
        entries = [
            (model, known[id(model)][1] if id(model) in known else encode(tag_entry(model)))
            for model in models
        ]
        self._entries = entries
        return b'{"models":[' + b",".join(entry for _, entry in entries) + b"]}"

    async def processes(self, client: str) -> list[dict[str, Any]]:
        """Loaded models, the one that leaves last first, as ``client`` may see them."""
        residents = self._desk.scheduler.residents()
        residents.sort(key=lambda resident: -(resident.expires_at // 1_000_000_000))
        return await trio.to_thread.run_sync(self._process_entries, residents, client)

    def loading(self) -> dict[str, list[dict[str, Any]]]:
        """Models on their way into memory and how far they are; nothing where there are none."""
        found = self._desk.scheduler.statistics().loading
        return {"loading": [{"name": n, "progress": at} for n, at in found]} if found else {}

    def _process_entries(self, residents: list[Resident], client: str) -> list[dict[str, Any]]:
        if not residents:
            return []
        gpu = any(device.kind in ("gpu", "igpu") for device in self._backend.devices())
        return [
            process_entry(
                resident,
                self._find(resident.name),
                on_gpu=gpu and resident.spec.load.gpu_layers != 0,
                client=client,
            )
            for resident in residents
        ]

    def _find(self, name: str) -> InstalledModel | None:
        try:
            return self._desk.models.find(parse_name(name))
        except TrillamaError:
            return None

    async def show(self, request: ShowRequest, basename: str = "") -> bytes:
        """Everything about one model.

        Args:
            basename: told as the ``general.basename`` of the weights.

        Raises:
            BadRequest: no name, or a malformed one.
            NotFound: there is no such model.
            RemoteDetails: it is one that runs elsewhere.
        """
        reference = parse_reference(request.model)
        if reference.source is Source.CLOUD:
            raise RemoteDetails
        await self._desk.ready.wait()
        overlay = Overlay(request.system, request.options, basename, request.verbose)
        return await trio.to_thread.run_sync(self._show, reference, overlay)

    def _show(self, reference: ModelReference, overlay: Overlay) -> bytes:
        try:
            model = self._desk.models.find(reference)
        except NotFound:
            raise NotFound(f"model '{reference.short}' not found") from None
        if model.config.remote_host:
            raise RemoteDetails
        if overlay != Overlay():
            return self._described(model, overlay)
        key = (model.name, model.digest, model.modified)
        if key not in self._shown:
            self._shown[key] = self._described(model, overlay)
        self._shown.move_to_end(key)
        while len(self._shown) > SHOWN:
            self._shown.popitem(last=False)
        return self._shown[key]

    def _described(self, model: InstalledModel, overlay: Overlay) -> bytes:
        licenses = self._desk.models.licenses(model)
        headers = read_headers(model, verbose=overlay.verbose)
        return encode(show_entry(model, licenses, headers, overlay))


def routes(desk: Desk, backend: Backend) -> Blueprint:
    """The routes, answered from what ``desk`` has and ``backend`` knows of its devices."""
    blueprint = Blueprint("library", __name__)
    blueprint.register_blueprint(openapi.routes())
    library = Library(desk, backend)

    @blueprint.route("/", methods=["GET", "HEAD"])
    async def root() -> Response:
        return Response(RUNNING, content_type="text/plain; charset=utf-8")

    @blueprint.route("/api/version", methods=["GET", "HEAD"])
    async def version() -> Response:
        return _json({"version": __version__})

    @blueprint.route("/api/tags", methods=["GET", "HEAD"])
    async def tags() -> Response:
        return Response(await library.tags(), content_type=JSON)

    @blueprint.get("/api/ps")
    async def ps() -> Response:
        found = await library.processes(caller().client)
        return _json({"models": found, **library.loading()})

    @blueprint.post("/api/show")
    async def show() -> Response:
        request = await read_as(read_show)
        client = current_request.headers.get("User-Agent", "")
        basename = request.model if client.startswith(COPILOT) else ""
        return Response(await library.show(request, basename), content_type=JSON)

    return blueprint
