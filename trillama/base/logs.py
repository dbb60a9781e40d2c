"""How the server logs: key-value events on standard error, JSON unless a person is reading.

Called once by whoever starts the process. What is bound with ``structlog.contextvars`` stands on
every line of a request. Nothing here is called for a token.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, TextIO

import msgspec
import structlog

REPEAT = 10.0
"""Seconds in which another library's complaint is not told again."""


def _plain(value: Any) -> str:
    return str.__str__(value) if isinstance(value, str) else repr(value)


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def _json(event: Any, **_: Any) -> str:
    return _encoder.encode(event).decode()


class _Others(logging.Handler):
    """Warnings and errors of libraries that use Python's own logging, as events of ours."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._last: tuple[str, str] = ("", "")
        self._when = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        said, now = (record.name, record.getMessage()), time.monotonic()
        if said == self._last and now - self._when < REPEAT:
            return
        self._last, self._when = said, now
        details: dict[str, Any] = {"logger": record.name}
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OSError):  # the system's doing: where it happened says nothing
            details["reason"] = str(error)
        elif error is not None:
            details["exc_info"] = error
        structlog.get_logger().log(record.levelno, said[1], **details)


def _renderers(console: bool, stream: TextIO) -> list[Any]:
    """Without the values of variables in tracebacks, which may be prompts or passwords."""
    if console:
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(tracebacks),
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def configure_logs(log_format: str = "auto", debug: int = 0, stream: TextIO | None = None) -> None:
    """Set up logging for the process.

    Args:
        log_format: "json", "console", or "auto": JSON unless ``stream`` is a terminal.
        debug: above 0 shows debug events too.
        stream: standard error when None.
    """
    stream = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(console, stream),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if debug else logging.INFO
        ),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    others = [handler for handler in logging.root.handlers if not isinstance(handler, _Others)]
    logging.root.handlers[:] = [*others, _Others()]
