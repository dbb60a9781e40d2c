"""Uploads: ``/api/blobs/<digest>``, for files of any size.

A chunk is taken from the socket while the one before it is hashed and written by a worker thread;
a slow disk makes the client wait, so memory stays flat. The digest is checked before the blob gets
its name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack

import trio
from quart import Blueprint, Response
from quart import request as current_request

from ..base.errors import NotFound
from ..base.names import Digest
from ..blobs import BlobStore, Stage
from .connection import BODY_PATIENCE
from .errors import SlowBody

CHUNK = 1 << 20
"""Bytes handed to the disk at once."""

CLEANING = 10.0
"""Seconds that removing an upload that broke off may take."""


async def _chunks() -> AsyncIterator[bytes]:
    """The body in pieces of CHUNK bytes and a rest.

    Raises:
        SlowBody: it stopped coming.
    """
    held = bytearray()
    body = aiter(current_request.body)
    while True:
        with trio.move_on_after(BODY_PATIENCE) as waiting:
            piece = await anext(body, b"")
        if waiting.cancelled_caught:
            raise SlowBody("the upload stopped coming")
        held += piece
        if held and (len(held) >= CHUNK or not piece):
            yield bytes(held)
            held.clear()
        if not piece:
            return


async def _drain() -> None:
    # A connection closed in the middle of an upload loses the answer on its way to the client.
    async for _ in _chunks():
        pass


async def _receive(blobs: BlobStore, digest: Digest) -> None:
    with ExitStack() as stack:
        opened = blobs.stage(current_request.content_length or 0)
        stage: Stage = await trio.to_thread.run_sync(stack.enter_context, opened)
        try:
            async for data in _chunks():
                await trio.to_thread.run_sync(stage.write, data)
            await trio.to_thread.run_sync(stage.commit, digest)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEANING):
                await trio.to_thread.run_sync(stack.close)


def routes(blobs: BlobStore) -> Blueprint:
    """The routes, which fill ``blobs``."""
    blueprint = Blueprint("blobs", __name__)

    @blueprint.route("/api/blobs/<text>", methods=["HEAD"])
    async def head(text: str) -> Response:
        digest = Digest(text)
        if not await trio.to_thread.run_sync(blobs.touch, digest):
            raise NotFound(f'blob "{digest}" not found')
        return Response(b"")

    @blueprint.post("/api/blobs/<text>")
    async def create(text: str) -> Response:
        digest = Digest(text)
        if await trio.to_thread.run_sync(blobs.touch, digest):
            await _drain()
            return Response(b"", 200)
        await _receive(blobs, digest)
        return Response(b"", 201)

    return blueprint
