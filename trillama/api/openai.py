"""Routes of OpenAI's dialect: chat, plain completions, responses and the list of models."""

from __future__ import annotations

from types import ModuleType

import trio
from quart import Blueprint, Response
from quart import request as current_request

from ..base.turns import TurnRequest
from ..models.installed import InstalledModel
from ..wire.anthropic import models as anthropic
from ..wire.gojson import encode
from ..wire.openai import models as openai
from ..wire.openai.chat import chat_turns, read_chat
from ..wire.openai.chat_records import ChatRecords
from ..wire.openai.completion_records import CompletionRecords
from ..wire.openai.completions import completion_turns, read_completion
from ..wire.openai.models import Listed
from ..wire.openai.records import Heading
from . import responses
from .answering import answer
from .connection import read_as, visit
from .desk import Desk
from .errors import JSON
from .tokens import Tokens


def _listed(model: InstalledModel, name: str = "") -> Listed:
    return Listed(name or model.name.short, model.modified, model.name.namespace)


async def _echo(desk: Desk, turn: TurnRequest) -> str:
    """The prompt as text."""
    if not turn.raw_tokens:
        return turn.raw or turn.messages[-1].content
    return await Tokens(desk).decode(turn.raw_tokens, await desk.find(turn.model))


def _dialect() -> ModuleType:
    """Two dialects list their models at one path; Anthropic's client says which version it is."""
    return anthropic if "anthropic-version" in current_request.headers else openai


def routes(desk: Desk) -> Blueprint:
    """The routes, answered by ``desk``."""
    blueprint = Blueprint("openai", __name__)
    blueprint.register_blueprint(responses.routes(desk))

    @blueprint.post("/v1/chat/completions")
    async def chat() -> Response:
        request = await read_as(read_chat)
        turns = chat_turns(request)
        heading = Heading(visit().id, request.model)
        records = ChatRecords(heading, len(turns), includes_usage=request.includes_usage)
        return await answer(desk, turns, records, streamed=bool(request.stream))

    @blueprint.post("/v1/completions")
    async def completions() -> Response:
        request = await read_as(read_completion)
        turns = completion_turns(request)
        heading = Heading(visit().id, request.model)
        echoes = [await _echo(desk, turn) if request.echo else "" for turn in turns]
        records = CompletionRecords(
            heading, echoes, request.n or 1, includes_usage=request.includes_usage
        )
        return await answer(desk, turns, records, streamed=bool(request.stream))

    @blueprint.get("/v1/models")
    async def models() -> Response:
        await desk.ready.wait()
        found = await trio.to_thread.run_sync(desk.models.installed)
        return Response(encode(_dialect().model_list(map(_listed, found))), content_type=JSON)

    @blueprint.get("/v1/models/<path:name>")
    async def model(name: str) -> Response:
        found = await desk.find(name)
        return Response(encode(_dialect().model_object(_listed(found, name))), content_type=JSON)

    return blueprint
