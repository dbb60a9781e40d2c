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
from .errors import SlowBody, empty

CHUNK = 1 << 20
"""Bytes handed to the disk at once."""

CLEANING = 10.0
"""Seconds that removing an upload that broke off may take."""


async def _chunks() -> AsyncIterator[list[bytes]]:
    """The body in heaps of some CHUNK bytes; pieces are not joined, which would copy them.

    Raises:
        SlowBody: it stopped coming.
    """
    held: list[bytes] = []
    size = 0
    body = aiter(current_request.body)
    while True:
        with trio.move_on_after(BODY_PATIENCE) as waiting:
            piece = await anext(body, b"")
        if waiting.cancelled_caught:
            raise SlowBody("the upload stopped coming")
        if piece:
            held.append(piece)
            size += len(piece)
        if held and (size >= CHUNK or not piece):
            yield held
            held, size = [], 0
        if not piece:
            return


async def _drain() -> None:
    # A connection closed in the middle of an upload loses the answer on its way to the client.
    async for _ in _chunks():
        pass


def _write(stage: Stage, pieces: list[bytes]) -> None:
    for piece in pieces:
        stage.write(piece)


async def _receive(blobs: BlobStore, digest: Digest) -> None:
    with ExitStack() as stack:
        opened = blobs.stage(current_request.content_length or 0)
        stage: Stage = await trio.to_thread.run_sync(stack.enter_context, opened)
        try:
            async for pieces in _chunks():
                await trio.to_thread.run_sync(_write, stage, pieces)
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
        return empty(200)

    @blueprint.post("/api/blobs/<text>")
    async def create(text: str) -> Response:
        digest = Digest(text)
        if await trio.to_thread.run_sync(blobs.touch, digest):
            await _drain()
            return empty(200)
        await _receive(blobs, digest)
        return empty(201)

    return blueprint
