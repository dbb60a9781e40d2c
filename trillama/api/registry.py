"""Routes about other machines: ``/api/pull``, ``/api/push``, ``/api/me``, ``/api/signout``."""

from __future__ import annotations

from quart import Blueprint, Response

from ..base.errors import BadRequest
from ..base.names import ModelReference, Source, parse_reference
from ..models.registry.account import Account, SignedOut
from ..models.registry.pull import Puller, PullRequest
from ..models.registry.push import Pusher
from ..wire.gojson import encode
from ..wire.registry import TransferRequest, read_transfer
from .connection import read_body
from .desk import CloudDisabled
from .errors import JSON
from .progress import progress_response

MAX_BODY = 1 << 20


def transfer(asked: TransferRequest, nameless: str) -> PullRequest:
    """What is to be pulled or pushed.

    Args:
        nameless: the error when no model is named.

    Raises:
        BadRequest: the name is missing or malformed, or says http without ``insecure``.
        CloudDisabled: it names a model that runs elsewhere.
    """
    if not asked.wanted.strip():
        raise BadRequest(nameless)
    return PullRequest(
        reference(asked), asked.insecure, username=asked.username, password=asked.password
    )


def reference(asked: TransferRequest) -> ModelReference:
    """The model a request names, if its registry may be spoken to in the way it says."""
    wanted = parse_reference(asked.wanted)
    if wanted.source is Source.CLOUD:
        raise CloudDisabled
    if asked.wanted.strip().lower().startswith("http://") and not asked.insecure:
        raise BadRequest("insecure protocol http")
    return wanted


def routes(puller: Puller, pusher: Pusher) -> Blueprint:
    """The routes, carried out by these two."""
    blueprint = Blueprint("registry", __name__)

    @blueprint.post("/api/pull")
    async def pull() -> Response:
        asked = read_transfer(await read_body(MAX_BODY), "PullRequest")
        request = transfer(asked, "invalid model name")
        if asked.print_urls:
            found = [{"digest": digest, "url": url} for digest, url in await puller.urls(request)]
            return Response(encode({"blobs": found}), content_type=JSON)
        return await progress_response(lambda tell: puller.pull(request, tell), stream=asked.stream)

    @blueprint.post("/api/push")
    async def push() -> Response:
        asked = read_transfer(await read_body(MAX_BODY), "PushRequest")
        request = transfer(asked, "model is required")
        return await progress_response(lambda tell: pusher.push(request, tell), stream=asked.stream)

    return blueprint


def account_routes(account: Account) -> Blueprint:
    """Who this machine is at ollama.com."""
    blueprint = Blueprint("account", __name__)

    @blueprint.post("/api/me")
    async def me() -> Response:
        try:
            return Response(encode(await account.me()), content_type=JSON)
        except SignedOut as error:
            body = {"error": error.message} | ({"signin_url": error.url} if error.url else {})
            return Response(encode(body), error.status, content_type=JSON)

    async def sign_out(key: str = "") -> Response:
        await account.sign_out()
        return Response(b"null", content_type=JSON)

    blueprint.add_url_rule("/api/signout", "signout", sign_out, methods=["POST"])
    blueprint.add_url_rule("/api/user/keys/<key>", "keys", sign_out, methods=["DELETE"])
    return blueprint
