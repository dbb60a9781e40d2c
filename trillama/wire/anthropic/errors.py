"""Errors in Anthropic's shape; ``type`` follows the status."""

from __future__ import annotations

from typing import Any

from ...base.errors import TrillamaError
from .. import sse
from ..gojson import encode

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_object(error: TrillamaError, request_id: str) -> dict[str, Any]:
    """The whole document."""
    shown = {"type": _TYPES.get(error.status, "api_error"), "message": error.message}
    return {"type": "error", "error": shown, "request_id": request_id}


def error_body(error: TrillamaError, request_id: str) -> bytes:
    """The body of a refusal."""
    return encode(error_object(error, request_id))


def error_event(error: TrillamaError, request_id: str) -> bytes:
    """The event that ends a stream in trouble; the official client raises it."""
    return sse.event(b"error", error_body(error, request_id))
