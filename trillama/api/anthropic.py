"""Routes of Anthropic's dialect: messages, and how many tokens they have."""

from __future__ import annotations

import msgspec
from quart import Blueprint, Response

from ..base.turns import TurnRequest
from ..models.capabilities import THINKING
from ..wire.anthropic.records import MessageRecords
from ..wire.anthropic.requests import count_turn, messages_turn, read_count, read_messages
from ..wire.gojson import encode
from .answering import answer
from .connection import read_as, visit
from .desk import Desk
from .errors import JSON


def routes(desk: Desk) -> Blueprint:
    """The routes, answered by ``desk``."""
    blueprint = Blueprint("anthropic", __name__)

    async def thinking_if_it_can(turn: TurnRequest) -> TurnRequest:
        """Programs of this dialect ask every model to think; one that cannot just answers."""
        if turn.think and THINKING not in (await desk.find(turn.model)).capabilities:
            return msgspec.structs.replace(turn, think=None)
        return turn

    @blueprint.post("/v1/messages")
    async def messages() -> Response:
        request = await read_as(read_messages)
        turn = await thinking_if_it_can(messages_turn(request))
        records = MessageRecords(visit().id, request.model)
        return await answer(desk, [turn], records, streamed=bool(request.stream))

    @blueprint.post("/v1/messages/count_tokens")
    async def count_tokens() -> Response:
        turn = await thinking_if_it_can(count_turn(await read_as(read_count)))
        tokens = await desk.preview(turn)
        return Response(encode({"input_tokens": len(tokens)}), content_type=JSON)

    @blueprint.after_request
    async def identified(response: Response) -> Response:
        response.headers["request-id"] = f"req_{visit().id}"
        return response

    return blueprint
