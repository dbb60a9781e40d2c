"""Routes that change which models there are: copy and delete."""

from __future__ import annotations

import trio
from quart import Blueprint, Response

from ..base.errors import BadRequest, InvalidName, NotFound
from ..base.names import ModelReference, Source, parse_name, parse_pinned, parse_reference
from ..models.store import ModelStore
from ..wire.goquote import quote
from ..wire.library import CopyRequest, DeleteRequest, read_copy, read_delete
from .connection import read_as
from .turn import Desk


def _side(what: str, text: str) -> ModelReference:
    try:
        return parse_pinned(text)
    except InvalidName:
        raise InvalidName(f"{what} {quote(text)} is invalid") from None


def _deletable(text: str) -> ModelReference:
    """What a delete means; a name that ends like one of a cloud is the name of its stub.

    Raises:
        BadRequest: no name, two suffixes, or a malformed name.
    """
    try:
        reference = parse_reference(text)
    except InvalidName:
        raise InvalidName(f"name {quote(text)} is invalid") from None
    stub = reference.source is Source.CLOUD
    return ModelReference(parse_name(text.strip())) if stub else reference


def _copy(store: ModelStore, request: CopyRequest) -> None:
    source = _side("source", request.source)
    target = _side("destination", request.destination)
    if target.digest:
        raise BadRequest("a copy has a digest of its own, so its name cannot be pinned")
    try:
        store.copy(source, target.name)
    except NotFound:
        raise NotFound(f"model {quote(request.source)} not found") from None


def _delete(store: ModelStore, request: DeleteRequest) -> None:
    try:
        store.delete(_deletable(request.model))
    except NotFound:
        raise NotFound(f"model '{request.model}' not found") from None


def routes(desk: Desk, store: ModelStore) -> Blueprint:
    """The routes, which change ``store`` once ``desk`` is ready."""
    blueprint = Blueprint("editing", __name__)

    @blueprint.post("/api/copy")
    async def copy() -> Response:
        request = await read_as(read_copy)
        await desk.ready.wait()
        await trio.to_thread.run_sync(_copy, store, request)
        return Response(b"")

    @blueprint.delete("/api/delete")
    async def delete() -> Response:
        request = await read_as(read_delete)
        await desk.ready.wait()
        await trio.to_thread.run_sync(_delete, store, request)
        return Response(b"")

    return blueprint
