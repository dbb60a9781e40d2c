"""``trillama serve``: the server in the foreground."""

from __future__ import annotations

from trillama.base.settings import load_settings


def serve(host: str | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        host: bind address that wins over settings.
    """
    from trillama.app import serve as serve_app

    serve_app(load_settings(flags={"host": host}))
