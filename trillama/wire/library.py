"""Requests about the library, as Ollama's clients send them: show, copy, delete, create.

Field names, older spellings and the texts of errors are Ollama's. ``read_*`` turn a body into a
typed request.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..base.messages import Message
from . import gojson, goshape
from .goshape import Place
from .native import MESSAGE


class ShowRequest(msgspec.Struct, kw_only=True):
    """Body of ``/api/show``; ``system`` and ``options`` are laid over what is shown."""

    model: str = ""
    verbose: bool = False
    system: str = ""
    options: dict[str, Any] = {}


class CopyRequest(msgspec.Struct, kw_only=True):
    """Body of ``/api/copy``."""

    source: str = ""
    destination: str = ""


class DeleteRequest(msgspec.Struct, kw_only=True):
    """Body of ``/api/delete``."""

    model: str = ""


class CreateRequest(msgspec.Struct, kw_only=True):
    """Body of ``/api/create``.

    Attributes:
        files, adapters, draft_files: names, as clients know the files, to digests.
        licenses: one or several, as they came.
        modelfile: what older clients send instead of the fields; None when absent.
        path: where older clients wanted a Modelfile read on the server; always refused.
    """

    model: str = ""
    base: str = ""
    remote_host: str = ""
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    draft_files: dict[str, str] | None = None
    template: str = ""
    system: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    licenses: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    messages: tuple[Message, ...] = ()
    quantize: str = ""
    draft_quantize: str = ""
    info: dict[str, Any] = {}
    modelfile: str | None = None
    path: str = ""
    stream: bool = True


@goshape.described(anyOf=[{"type": "string"}, {"type": "array", "items": {"type": "string"}}])
def _texts(value: Any, place: Place) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    if isinstance(value, list):
        return tuple(goshape.string(item, place) for item in value)
    raise place.mismatch(value, "string")


@goshape.described(type="object", additionalProperties={"type": "string"})
def _digests(value: Any, place: Place) -> dict[str, str]:
    if not isinstance(value, dict):
        raise place.mismatch(value, "map[string]string")
    return {name: goshape.string(digest, place) for name, digest in value.items()}


@goshape.described(type="array", items=goshape.schema_of(MESSAGE))
def _messages(value: Any, place: Place) -> tuple[Message, ...]:
    return tuple(goshape.list_of(MESSAGE, "[]api.Message")(value, place))


_SHOW: goshape.Table = {
    "model": goshape.string,
    "name": goshape.string,
    "verbose": goshape.boolean,
    "system": goshape.string,
    "options": goshape.mapping,
}
_COPY: goshape.Table = {"source": goshape.string, "destination": goshape.string}
_DELETE: goshape.Table = {"model": goshape.string, "name": goshape.string}
_CREATE: goshape.Table = {
    "model": goshape.string,
    "name": goshape.string,
    "from": goshape.string,
    "remote_host": goshape.string,
    "files": _digests,
    "adapters": _digests,
    "draft_files": _digests,
    "template": goshape.string,
    "system": goshape.string,
    "renderer": goshape.string,
    "parser": goshape.string,
    "requires": goshape.string,
    "license": _texts,
    "parameters": goshape.mapping,
    "messages": _messages,
    "quantize": goshape.string,
    "quantization": goshape.string,
    "draft_quantize": goshape.string,
    "info": goshape.mapping,
    "modelfile": goshape.string,
    "path": goshape.string,
    "stream": goshape.boolean,
}
_SPELLED = {"from": "base", "license": "licenses"}


def _read(body: bytes, table: goshape.Table, go_name: str) -> dict[str, Any]:
    found = goshape.body(gojson.decode(body), table, go_name)
    for old, new in (("name", "model"), ("quantization", "quantize")):
        older = found.pop(old, "")
        found[new] = found.get(new) or older
        if new not in table:
            del found[new]
    return {_SPELLED.get(name, name): value for name, value in found.items()}


def read_show(body: bytes) -> ShowRequest:
    """Decode a body of ``/api/show``.

    Raises:
        BadRequest: with Ollama's text.
    """
    return ShowRequest(**_read(body, _SHOW, "ShowRequest"))


def read_copy(body: bytes) -> CopyRequest:
    """Decode a body of ``/api/copy``.

    Raises:
        BadRequest: with Ollama's text.
    """
    return CopyRequest(**goshape.body(gojson.decode(body), _COPY, "CopyRequest"))


def read_delete(body: bytes) -> DeleteRequest:
    """Decode a body of ``/api/delete``.

    Raises:
        BadRequest: with Ollama's text.
    """
    return DeleteRequest(**_read(body, _DELETE, "DeleteRequest"))


def read_create(body: bytes) -> CreateRequest:
    """Decode a body of ``/api/create``.

    Raises:
        BadRequest: with Ollama's text.
    """
    return CreateRequest(**_read(body, _CREATE, "CreateRequest"))


BODIES: dict[str, goshape.Table] = {
    "/api/show": _SHOW,
    "/api/copy": _COPY,
    "/api/delete": _DELETE,
    "/api/create": _CREATE,
}
"""The tables of the bodies at these paths."""

__all__ = [
    "BODIES",
    "CopyRequest",
    "CreateRequest",
    "DeleteRequest",
    "ShowRequest",
    "read_copy",
    "read_create",
    "read_delete",
    "read_show",
]
