"""Errors as answers: one table for each dialect, and what no dialect owns.

The one place where an exception becomes a status, headers and a body. Anything that is not of our
family is a bug: it is logged with its traceback and told to the client without its insides.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence

import structlog
from quart import Response, current_app, request
from quart_trio import QuartTrio

from ..base.errors import Busy, ShuttingDown, TrillamaError
from ..wire.anthropic import errors as anthropic
from ..wire.gojson import encode
from ..wire.openai import errors as openai

log = structlog.get_logger(__name__)

JSON = "application/json; charset=utf-8"
INTERNAL = "internal server error; the server's log has the details"
_METHODS = ("HEAD", "GET", "POST", "PUT", "PATCH", "DELETE")


class TooLarge(TrillamaError):
    """The body is larger than the endpoint takes."""

    status = 413
    code = "request_too_large"


class Encoded(TrillamaError):
    """The body is compressed in a way that its path does not take.

    Attributes:
        taken: what a ``Content-Encoding`` may be there.
    """

    status = 415
    code = "unsupported_content_encoding"

    def __init__(self, encoding: str, taken: Sequence[str]) -> None:
        self.taken = (*taken, "identity")
        offer = ", ".join(self.taken)
        super().__init__(f"Content-Encoding {encoding!r:.40} is not supported here, but {offer}")


class NoRoute(TrillamaError):
    """Nothing answers at this path, or not to this method."""

    code = "unknown_url"

    def __init__(self, status: int, method: str, path: str) -> None:
        super().__init__(f"{status}: nothing answers {method} {path}")
        self.status = status


class SlowBody(TrillamaError):
    """The body stopped coming."""

    status = 408
    code = "body_timeout"


def status_headers(error: TrillamaError) -> dict[str, str]:
    """Headers that belong to an error, whatever the dialect."""
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Busy) else {}
    if isinstance(error, ShuttingDown):
        headers["Connection"] = "close"
    if isinstance(error, Encoded):
        headers["Accept-Encoding"] = ", ".join(error.taken)
    return headers


def empty(status: int, headers: dict[str, str] | None = None) -> Response:
    """An answer without a body, or any word on its type."""
    response = Response(b"", status, headers)
    del response.headers["Content-Type"]
    if status == 204:
        del response.headers["Content-Length"]
    return response


def error_response(error: TrillamaError, path: str) -> Response:
    """The answer to a request that failed, in the words of the dialect ``path`` belongs to."""
    dialect = next(body for prefix, body in _DIALECTS if path.startswith(prefix))
    return Response(
        dialect(error), status=error.status, headers=status_headers(error), content_type=JSON
    )


def native_error(error: TrillamaError) -> bytes:
    """The native dialect: one key."""
    return encode({"error": error.message})


def anthropic_error(error: TrillamaError) -> bytes:
    """Anthropic's dialect, which tells the request's id in the body too."""
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return anthropic.error_body(error, f"req_{request_id}")


_LLAMA_TYPES = {404: "not_found_error", 501: "not_supported_error", 503: "unavailable_error"}


def llama_error(error: TrillamaError) -> bytes:
    """llama-server's own endpoints: message, status and type in one object."""
    other = "invalid_request_error" if error.status < 500 else "server_error"
    kind = _LLAMA_TYPES.get(error.status, other)
    return encode({"error": {"code": error.status, "message": error.message, "type": kind}})


_DIALECTS: tuple[tuple[str, Callable[[TrillamaError], bytes]], ...] = (
    ("/v1/messages", anthropic_error),
    ("/v1/", openai.error_body),
    ("/tokenize", llama_error),
    ("/detokenize", llama_error),
    ("/apply-template", llama_error),
    ("/props", llama_error),
    ("/rerank", llama_error),
    ("", native_error),
)
"""The beginning of a path to how errors are told there."""


def told(error: BaseException) -> TrillamaError:
    """``error`` as a client may hear it; what is not the client's doing is logged here."""
    if isinstance(error, TrillamaError):
        if error.status >= 500 and not isinstance(error, Busy):
            log.warning("request failed", code=error.code, error=error.message)
        return error
    log.error("unexpected error", exc_info=error)
    return TrillamaError(INTERNAL)


async def _ours(error: TrillamaError) -> Response:
    return error_response(told(error), request.path)


async def _foreign(error: Exception) -> Response:
    status = getattr(error, "code", None)
    if isinstance(status, int):  # one of the framework's own, as it is raised for bad requests
        return Response(f"{status} {error}", status, content_type="text/plain")
    return error_response(told(error), request.path)


async def _no_route(error: Exception) -> Response:
    if target := _unslashed(request.path):
        return empty(301 if request.method == "GET" else 307, {"Location": target})
    return _not_here(404, "404 page not found", {})


async def _wrong_method(error: Exception) -> Response:
    allowed = getattr(error, "valid_methods", None) or ()
    headers = {"Allow": ", ".join(method for method in _METHODS if method in allowed)}
    return _not_here(405, "405 method not allowed", headers)


def _not_here(status: int, text: str, headers: dict[str, str]) -> Response:
    """Plain text, as Ollama's router says it; JSON where clients of other dialects expect that."""
    if not request.path.startswith("/v1/"):
        return Response(text, status, headers, content_type="text/plain")
    response = error_response(NoRoute(status, request.method, request.path), request.path)
    response.headers.update(headers)
    return response


def _unslashed(path: str) -> str:
    """The path without its last slash, if a route for the method is there; else ""."""
    bare = path.rstrip("/")
    known = bool(bare) and current_app.url_map.bind("").test(bare, request.method)
    return bare if known and bare != path else ""


def clean_path(path: str) -> str:
    """``path`` without ``//``, ``.`` and ``..``; its last slash stays. Fact: Go's ServeMux."""
    if not path.startswith("/"):
        path = f"/{path}"
    cleaned = posixpath.normpath(path).replace("//", "/")
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned


def register(app: QuartTrio) -> None:
    """Install the handlers."""
    app.register_error_handler(TrillamaError, _ours)
    app.register_error_handler(404, _no_route)
    app.register_error_handler(405, _wrong_method)
    app.register_error_handler(Exception, _foreign)
