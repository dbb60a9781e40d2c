"""A description of the API in OpenAPI's words, made of the structs and tables that read requests.

Nothing is written twice: a field that is added to a struct is described by it. Fields that are
known and refused are described by the values that ask for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from . import embeddings, library, native, registry, rerank, tokens
from .anthropic.requests import read_count, read_messages
from .goshape import table_schema
from .openai.chat import read_chat
from .openai.completions import read_completion
from .openai.responses import read_response
from .requests import RequestReader

STRUCTS: Mapping[str, RequestReader[Any]] = {
    "/v1/chat/completions": read_chat,
    "/v1/completions": read_completion,
    "/v1/responses": read_response,
    "/v1/responses/input_tokens": read_response,
    "/v1/messages": read_messages,
    "/v1/messages/count_tokens": read_count,
}
"""Paths whose bodies are structs."""

TABLES = (
    native.BODIES
    | library.BODIES
    | tokens.BODIES
    | registry.BODIES
    | embeddings.BODIES
    | rerank.BODIES
)
"""Paths whose bodies are read by tables."""

_SSE = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
_NDJSON = ("/api/generate", "/api/chat", "/api/create", "/api/pull", "/api/push")
_REF = "#/components/schemas/"
_VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True, slots=True)
class Operation:
    """A route: its path as the router writes it, and one method."""

    method: str
    path: str


def document(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """The description of ``operations``."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        shown = _VARIABLE.sub(r"{\1}", operation.path)
        paths.setdefault(shown, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "trillama", "version": version},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": _schemas()},
    }


def _schemas() -> dict[str, Any]:
    """Schemas of all structs, their refused fields described as such."""
    kinds = {reader.kind: reader for reader in STRUCTS.values()}
    _, found = msgspec.json.schema_components(kinds, ref_template=_REF + "{name}")
    for kind, reader in kinds.items():
        for name, harmless in reader.refused.items():
            found[kind.__name__]["properties"][name] = {
                "enum": [None, *harmless],
                "description": "known and not supported: other values are refused by name",
            }
    return found


def _operation(operation: Operation) -> dict[str, Any]:
    path = operation.path
    found: dict[str, Any] = {
        "operationId": f"{operation.method.lower()} {path}",
        "responses": {
            "200": {"description": "done", "content": _content(path)},
            "default": {
                "description": "an error, in the words of the path's dialect",
                "content": {"application/json": {}},
            },
        },
    }
    if names := _VARIABLE.findall(path):
        found["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
    if operation.method in ("POST", "PUT", "DELETE") and (body := _body(path)) is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return found


def _content(path: str) -> dict[str, Any]:
    found: dict[str, Any] = {"application/json": {}}
    if path in _SSE:
        found["text/event-stream"] = {}
    if path in _NDJSON:
        found["application/x-ndjson"] = {}
    return found


def _body(path: str) -> dict[str, Any] | None:
    """The schema of a path's body; None where no table or struct reads it."""
    if path in STRUCTS:
        return {"$ref": _REF + STRUCTS[path].kind.__name__}
    return table_schema(TABLES[path]) if path in TABLES else None
