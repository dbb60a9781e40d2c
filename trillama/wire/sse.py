"""Server-sent events: framing, and the comment that keeps a silent connection open."""

from __future__ import annotations

CONTENT_TYPE = "text/event-stream"

COMMENT = b": waiting\n\n"
"""Skipped by every client; tells proxies and people that somebody is still there."""


def data(document: bytes) -> bytes:
    """An event without a name; ``document`` is one line of JSON."""
    return b"data: " + document + b"\n\n"


def event(name: bytes, document: bytes) -> bytes:
    """An event with a name."""
    return b"event: " + name + b"\ndata: " + document + b"\n\n"
