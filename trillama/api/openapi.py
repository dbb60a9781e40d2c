"""``/openapi.json``: all routes there are, whoever made them."""

from __future__ import annotations

from quart import Blueprint, Response, current_app

from .. import __version__
from ..wire.gojson import encode
from ..wire.openapi import Operation, document
from .errors import JSON


def operations() -> list[Operation]:
    """Every route of the running application."""
    return [
        Operation(method, rule.rule)
        for rule in current_app.url_map.iter_rules()
        for method in sorted(rule.methods or ())
    ]


def routes() -> Blueprint:
    """The route."""
    blueprint = Blueprint("openapi", __name__)

    @blueprint.get("/openapi.json")
    async def describe() -> Response:
        return Response(encode(document(operations(), __version__)), content_type=JSON)

    return blueprint
