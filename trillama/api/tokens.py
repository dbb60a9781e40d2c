"""Texts to tokens and back: ``/api/tokenize`` and ``/api/detokenize``.

Nothing here loads a model: the vocabulary of a resident one is used, or one that is read alone.
``llama_server`` answers the same questions in its own shapes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import trio
from quart import Blueprint, Response

from ..base.errors import BadRequest
from ..models.installed import InstalledModel
from ..runner_pool import Tokenizer
from ..wire.gojson import encode
from ..wire.tokens import (
    TokenizeRequest,
    named,
    read_detokenize,
    read_tokenize,
    spelled,
)
from .connection import read_as
from .desk import Desk
from .errors import JSON


def json_response(value: object) -> Response:
    """A whole answer."""
    return Response(encode(value), content_type=JSON)


class Tokens:
    """What the routes below do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def the_model(self, name: str) -> InstalledModel:
        """The model of that name; without one, the only one loaded or the only one installed.

        Raises:
            BadRequest: there is a choice.
            NotFound: there is none.
        """
        if name:
            return await self._desk.find(name)
        names = {resident.name for resident in self._desk.scheduler.residents()}
        if len(names) != 1:
            await self._desk.ready.wait()
            installed = await trio.to_thread.run_sync(self._desk.models.installed)
            names = {model.name.short for model in installed}
        if len(names) != 1:
            raise BadRequest('"model" is required: several models could be meant')
        return await self._desk.find(names.pop())

    async def encode(
        self, request: TokenizeRequest, model: InstalledModel
    ) -> tuple[list[int], list[bytes]]:
        """Tokens and, if they are wanted, their texts."""
        if request.turn is not None:
            found = await self._desk.preview(request.turn)
        async with self._desk.tokenizer(model) as tokenizer:
            if request.turn is None:
                found = await _tokens_of(request, tokenizer)
            tokens: list[int] = found.tolist()
            if not request.with_pieces:
                return tokens, []
            return tokens, [tokenizer.vocabulary.text_of(token) for token in tokens]

    async def decode(self, tokens: Sequence[int], model: InstalledModel) -> str:
        """The text of tokens, control tokens spelled out.

        Raises:
            BadRequest: a token the model does not have.
        """
        async with self._desk.tokenizer(model) as tokenizer:
            vocabulary = tokenizer.vocabulary
            for token in tokens:
                _check_token(token, vocabulary.size)
            data = b"".join(map(vocabulary.text_of, tokens))
        return data.decode("utf-8", "replace")


def _check_token(token: int, size: int) -> None:
    if not 0 <= token < size:
        raise BadRequest(f"token {token} is not in 0..{size - 1}")


async def _tokens_of(request: TokenizeRequest, tokenizer: Tokenizer) -> npt.NDArray[np.int32]:
    """Texts and tokens joined; special tokens are added to a text that comes first."""
    found: list[npt.NDArray[np.int32]] = []
    for at, part in enumerate(request.content):
        if isinstance(part, str):
            found.append(
                await tokenizer.tokenize(
                    part,
                    add_special=request.add_special and at == 0,
                    parse_special=request.parse_special,
                )
            )
        else:
            _check_token(part, tokenizer.vocabulary.size)
            found.append(np.array([part], np.int32))
    return np.concatenate(found) if found else np.empty(0, np.int32)


def routes(desk: Desk) -> Blueprint:
    """The routes, answered for the models of ``desk``."""
    blueprint = Blueprint("tokens", __name__)
    tokens = Tokens(desk)

    @blueprint.post("/api/tokenize")
    async def tokenize() -> Response:
        began = time.monotonic_ns()
        request = await read_as(read_tokenize)
        model = await tokens.the_model(named(request.model))
        found, pieces = await tokens.encode(request, model)
        shown = {"pieces": spelled(found, pieces)} if request.with_pieces else {}
        answer = {"model": request.model, "tokens": found, "count": len(found)}
        return json_response(answer | shown | {"total_duration": time.monotonic_ns() - began})

    @blueprint.post("/api/detokenize")
    async def detokenize() -> Response:
        began = time.monotonic_ns()
        request = await read_as(read_detokenize)
        model = await tokens.the_model(named(request.model))
        content = await tokens.decode(request.tokens, model)
        spent = time.monotonic_ns() - began
        return json_response({"model": request.model, "content": content, "total_duration": spent})

    return blueprint
