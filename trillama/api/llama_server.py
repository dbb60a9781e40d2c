"""What clients of llama-server ask its server for beside answers, in its own shapes.

llama-server serves one model and its clients name none. Here it is the one that is loaded, else the
only one installed, else whichever ``model`` names; where that leaves a choice, it is refused.
"""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Response
from quart import request as asked

from .. import __version__
from ..base.errors import BadRequest
from ..models.installed import InstalledModel
from ..wire.native import chat_turn, read_chat
from ..wire.tokens import read_detokenize, read_tokenize, spelled
from .connection import read_as
from .desk import Desk
from .tokens import Tokens, json_response


async def properties(desk: Desk, model: InstalledModel) -> dict[str, Any]:
    """What llama-server says of its model, where it has a meaning here."""
    async with desk.tokenizer(model) as tokenizer:
        vocabulary = tokenizer.vocabulary
        bos, eos = (
            vocabulary.text_of(token).decode("utf-8", "replace")
            for token in (vocabulary.bos, vocabulary.eos)
        )
    return {
        "default_generation_settings": {"params": {}, "n_ctx": model.details.context_length},
        "total_slots": desk.settings.num_parallel or 1,
        "model_alias": model.name.short,
        "model_path": str(model.weights),
        "modalities": {"vision": bool(model.projectors), "audio": False},
        "chat_template": model.chat_template,
        "bos_token": bos,
        "eos_token": eos,
        "build_info": f"trillama {__version__}",
    }


def routes(desk: Desk) -> Blueprint:
    """The routes, answered for the models of ``desk``."""
    blueprint = Blueprint("llama_server", __name__)
    tokens = Tokens(desk)

    @blueprint.post("/tokenize")
    async def tokenize() -> Response:
        request = await read_as(read_tokenize)
        if request.turn is not None:
            raise BadRequest("messages have their place in /apply-template and /api/tokenize")
        model = await tokens.the_model(request.model)
        found, pieces = await tokens.encode(request, model)
        return json_response({"tokens": spelled(found, pieces) if request.with_pieces else found})

    @blueprint.post("/detokenize")
    async def detokenize() -> Response:
        request = await read_as(read_detokenize)
        model = await tokens.the_model(request.model)
        return json_response({"content": await tokens.decode(request.tokens, model)})

    @blueprint.post("/apply-template")
    async def apply_template() -> Response:
        request = await read_as(read_chat)
        request.model = (await tokens.the_model(request.model)).name.short
        return json_response({"prompt": await desk.show(chat_turn(request))})

    @blueprint.get("/props")
    async def props() -> Response:
        model = await tokens.the_model(asked.args.get("model", ""))
        return json_response(await properties(desk, model))

    @blueprint.get("/v1/health")
    @blueprint.get("/health")
    async def health() -> Response:
        return json_response({"status": "ok"})

    return blueprint
