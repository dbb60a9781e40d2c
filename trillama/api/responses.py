"""Routes of OpenAI's newer API, and the responses that later ones may go on with.

Responses are kept in memory alone, the latest of them, within a bound; their ids cannot be guessed.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quart import Blueprint, Response

from ..base.errors import NotFound
from ..base.messages import Message
from ..wire.gojson import encode
from ..wire.openai.records import Heading
from ..wire.openai.response_records import ResponseRecords
from ..wire.openai.responses import ResponsesRequest, read_response, response_turn
from .answering import answer
from .connection import read_as
from .desk import Desk
from .errors import JSON

MOST = 1000
"""Responses kept."""

MOST_BYTES = 64 << 20
"""Bytes they may have together, all they go on with counted each time."""


class ResponseNotFound(NotFound):
    """It never was, or no longer is."""

    code = "response_not_found"

    def __init__(self, id: str) -> None:  # noqa: A002
        super().__init__(f"response '{id:.80}' not found; responses are kept for a while only")


@dataclass(frozen=True, slots=True)
class Kept:
    """A response that can be gone on with.

    Attributes:
        body: the response object, encoded.
        messages: the conversation up to and with its answer, without any instructions.
    """

    body: bytes
    messages: tuple[Message, ...]

    @property
    def size(self) -> int:
        """Bytes, nearly."""
        return len(self.body) + sum(map(_size, self.messages))


def _size(message: Message) -> int:
    calls = sum(len(str(call)) for call in message.tool_calls)
    texts = len(message.content) + len(message.thinking) + calls
    return 200 + 4 * texts + sum(map(len, message.images))


class Shelf:
    """The latest responses by their ids; the one that was used last leaves last."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0

    def put(self, id: str, kept: Kept) -> None:  # noqa: A002
        """Keep one; the oldest make room. One that is larger than all room is not kept."""
        size = kept.size
        if size > self._most_bytes:
            return
        self._kept[id] = kept
        self._bytes += size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= gone.size

    def get(self, id: str) -> Kept:  # noqa: A002
        """One that is kept.

        Raises:
            ResponseNotFound: it never was, or no longer is.
        """
        if id not in self._kept:
            raise ResponseNotFound(id)
        self._kept.move_to_end(id)
        return self._kept[id]

    def drop(self, id: str) -> None:  # noqa: A002
        """Forget one.

        Raises:
            ResponseNotFound: it is not kept.
        """
        self._bytes -= self.get(id).size
        del self._kept[id]


class Responses:
    """What the routes below do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.shelf = Shelf()

    def before(self, request: ResponsesRequest) -> tuple[Message, ...]:
        """What was said in the responses that ``request`` goes on with."""
        id = request.previous_response_id  # noqa: A001
        return self.shelf.get(id).messages if id else ()

    async def create(self, request: ResponsesRequest) -> Response:
        """Answer, and keep the answer unless told not to."""
        turn = response_turn(request, self.before(request))
        heading = Heading(secrets.token_hex(16), request.model)
        asked = turn.messages[bool(request.instructions) :]

        def keep(response: dict[str, Any], said: Message) -> None:
            if request.store is not False:
                self.shelf.put(response["id"], Kept(encode(response), (*asked, said)))

        records = ResponseRecords(heading, request, keep)
        return await answer(self._desk, [turn], records, streamed=bool(request.stream))

    async def count(self, request: ResponsesRequest) -> Sequence[int]:
        """The tokens of the prompt."""
        turn = response_turn(request, self.before(request))
        found: Sequence[int] = (await self._desk.preview(turn)).tolist()
        return found


def routes(desk: Desk) -> Blueprint:
    """The routes, answered by ``desk``."""
    blueprint = Blueprint("responses", __name__)
    responses = Responses(desk)

    @blueprint.post("/v1/responses")
    async def create() -> Response:
        return await responses.create(await read_as(read_response))

    @blueprint.post("/v1/responses/input_tokens")
    async def count() -> Response:
        tokens = await responses.count(await read_as(read_response))
        counted = {"object": "response.input_tokens", "input_tokens": len(tokens)}
        return Response(encode(counted), content_type=JSON)

    @blueprint.get("/v1/responses/<id>")
    async def retrieve(id: str) -> Response:  # noqa: A002
        return Response(responses.shelf.get(id).body, content_type=JSON)

    @blueprint.delete("/v1/responses/<id>")
    async def delete(id: str) -> Response:  # noqa: A002
        responses.shelf.drop(id)
        gone = {"id": id, "object": "response", "deleted": True}
        return Response(encode(gone), content_type=JSON)

    return blueprint
