"""Routes of the native dialect: ``/api/generate`` and ``/api/chat``."""

from __future__ import annotations

from quart import Blueprint, Response

from ..base.turns import TurnRequest
from ..wire.native import (
    ChatRequest,
    GenerateRequest,
    chat_turn,
    generate_turn,
    read_chat,
    read_generate,
)
from ..wire.records import ChatRecords, GenerateRecords, Records
from .answering import read_whole
from .callers import caller
from .connection import read_as, visit
from .desk import Desk
from .errors import JSON
from .streaming import stream
from .turn import Turn


async def _whole(turn: Turn, records: Records) -> Response:
    """Everything in one object."""
    said, end = await read_whole(turn)
    return Response(records.whole(said, end), content_type=JSON)


async def _answer(
    desk: Desk, request: ChatRequest | GenerateRequest, turn: TurnRequest, records: Records
) -> Response:
    if turn.only_loads:
        return Response(records.nothing_said(await desk.load(turn, caller())), content_type=JSON)
    if request.debug_render_only:
        pictures = sum(len(message.images) for message in turn.messages)
        return Response(records.rendered(await desk.show(turn), pictures), content_type=JSON)
    here = visit()
    answer = here.held.enter_context(await desk.begin(turn, here.id, caller()))
    return await (stream(answer, records) if request.stream else _whole(answer, records))


def routes(desk: Desk) -> Blueprint:
    """The native routes, answered by ``desk``."""
    blueprint = Blueprint("native", __name__)

    @blueprint.post("/api/generate")
    async def generate() -> Response:
        request = await read_as(read_generate)
        turn = generate_turn(request)
        return await _answer(desk, request, turn, GenerateRecords(request.model))

    @blueprint.post("/api/chat")
    async def chat() -> Response:
        request = await read_as(read_chat)
        return await _answer(desk, request, chat_turn(request), ChatRecords(request.model))

    return blueprint
