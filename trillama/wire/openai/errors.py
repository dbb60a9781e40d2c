"""Errors in OpenAI's shape: four keys, all of them always there.

``type`` follows the status as in Ollama; ``code`` is ours and stable, but for a missing model: the
official client knows that one; ``param`` is the field at fault where there is one.
"""

from __future__ import annotations

from typing import Any

from ...base.errors import BadField, NotFound, TrillamaError
from ..gojson import encode
from ..sse import data

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


def error_object(error: TrillamaError) -> dict[str, Any]:
    """What stands under ``error``."""
    return {
        "message": error.message,
        "type": _TYPES.get(error.status, "api_error"),
        "param": error.field if isinstance(error, BadField) else None,
        "code": "model_not_found" if type(error) is NotFound else error.code,
    }


def error_body(error: TrillamaError) -> bytes:
    """The body of a refusal."""
    return encode({"error": error_object(error)})


def error_event(error: TrillamaError) -> bytes:
    """The event that ends a stream in trouble; the official client raises it."""
    return data(error_body(error))
