"""How the server logs: key-value events on standard error, JSON unless a person is reading.

Called once by whoever starts the process. What is bound with ``structlog.contextvars`` stands on
every line of a request. Nothing here is called for a token.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import msgspec
import structlog

_encoder = msgspec.json.Encoder(enc_hook=repr)


def _json(event: Any, **_: Any) -> str:
    return _encoder.encode(event).decode()


def _renderers(console: bool, stream: TextIO) -> list[Any]:
    if console:
        return [structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    return [
        structlog.processors.dict_tracebacks,
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
