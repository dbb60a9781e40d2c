"""Routes that change which models there are: create, copy and delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio
from quart import Blueprint, Response

from ..base.errors import BadRequest, InvalidName, NotFound, UnsupportedField
from ..base.names import ModelReference, Source, parse_name, parse_pinned, parse_reference
from ..base.progress import Progress, Tell
from ..models.create import Recipe, create, recipe_of_modelfile
from ..models.create.recipe import base_reference, checked_files, read_info
from ..models.modelfile import instructions, parse
from ..models.store import ModelStore
from ..wire.goquote import quote
from ..wire.goshape import Refusals
from ..wire.library import (
    CopyRequest,
    CreateRequest,
    DeleteRequest,
    read_copy,
    read_create,
    read_delete,
)
from ..wire.requests import refuse
from .connection import read_as
from .desk import Desk
from .errors import empty
from .progress import Operation, progress_response

REFUSED: Refusals = {"quantize": ("",), "draft_quantize": ("",), "remote_host": ("",)}
"""Fields of a create that are not there yet."""

Pull = Callable[[ModelReference, Tell], Awaitable[None]]


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


def recipe_of(request: CreateRequest) -> Recipe:
    """What a create asks for.

    Raises:
        BadRequest: it cannot be meant so.
        UnsupportedField: a known field that is not there yet.
    """
    name = parse_name(request.model)
    if request.draft_quantize and not request.draft_files:
        raise BadRequest("--draft-quantize requires a DRAFT model")
    refuse(request, REFUSED)
    if request.path and request.modelfile is None:
        raise UnsupportedField(
            "path", "a server reads no paths, send the text as modelfile, or the fields"
        )
    said = Recipe(name=name)
    if request.modelfile is not None:
        said = recipe_of_modelfile(name, instructions(parse(request.modelfile)))
    return msgspec.structs.replace(said, **_fields(request))


def _fields(request: CreateRequest) -> dict[str, Any]:
    """The fields that were sent; they win over a Modelfile."""
    found: dict[str, Any] = {
        "base": base_reference(request.base) if request.base else None,
        "adapters": checked_files(request.adapters or {}),
        "drafts": checked_files(request.draft_files or {}),
        "info": read_info(request.info),
    }
    same = ("template", "system", "licenses", "parameters", "messages", "renderer", "parser")
    found |= {field: getattr(request, field) for field in same}
    found["requires"] = request.requires
    kept = {field: value for field, value in found.items() if value}
    return kept if request.files is None else kept | {"files": checked_files(request.files)}


def _creating(store: ModelStore, recipe: Recipe, pull: Pull | None) -> Operation:
    async def operation(tell: Tell) -> None:
        if recipe.base is not None and pull is not None:
            try:
                await trio.to_thread.run_sync(store.find, recipe.base)
            except NotFound:
                await pull(recipe.base, tell)

        def told(line: Progress) -> None:
            trio.from_thread.run_sync(tell, line)  # also where a hang-up calls the work off

        await trio.to_thread.run_sync(create, store, recipe, told)

    return operation


def routes(desk: Desk, store: ModelStore, pull: Pull | None = None) -> Blueprint:
    """The routes, which change ``store`` once ``desk`` is ready.

    Args:
        pull: brings a model that a create is based on and that is not there.
    """
    blueprint = Blueprint("editing", __name__)

    @blueprint.post("/api/create")
    async def make() -> Response:
        request = await read_as(read_create)
        recipe = recipe_of(request)
        await desk.ready.wait()
        return await progress_response(_creating(store, recipe, pull), stream=request.stream)

    @blueprint.post("/api/copy")
    async def copy() -> Response:
        request = await read_as(read_copy)
        await desk.ready.wait()
        await trio.to_thread.run_sync(_copy, store, request)
        return empty(200)

    @blueprint.delete("/api/delete")
    async def delete() -> Response:
        request = await read_as(read_delete)
        await desk.ready.wait()
        await trio.to_thread.run_sync(_delete, store, request)
        return empty(200)

    return blueprint
