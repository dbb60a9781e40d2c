"""Texts to tokens and back, as clients ask for it: our own words and llama-server's.

``/api/tokenize`` and ``/api/detokenize`` follow the requests proposed to Ollama (model and content,
durations in the answer), with messages and pieces beside them. ``/tokenize``, ``/detokenize`` and
``/apply-template`` have llama-server's shapes, and a model where there are several.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ..base.errors import BadRequest, NotFound
from ..base.turns import TurnRequest
from . import gojson, goshape
from .goshape import Place, Refusals
from .native import BODIES as NATIVE
from .native import chat_turn, read_chat

Mixed = list[str | int]
"""Texts to tokenise, and tokens taken as they are."""

MAX_TOKENS = 1_000_000
"""Tokens of one text to put together."""


class TokenizeRequest(msgspec.Struct, kw_only=True):
    """Body of ``/api/tokenize`` and ``/tokenize``.

    Attributes:
        content: texts and tokens, one after the other.
        turn: a conversation in place of ``content``; None if there is none.
        with_pieces: the text of each token is wanted too.
    """

    model: str = ""
    content: Mixed = []
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False
    turn: TurnRequest | None = None


class DetokenizeRequest(msgspec.Struct, kw_only=True):
    """Body of ``/api/detokenize`` and ``/detokenize``."""

    model: str = ""
    tokens: list[int] = []


_PART = {"type": ["string", "integer"]}


@goshape.described(anyOf=[_PART, {"type": "array", "items": _PART}])
def _mixed(value: Any, place: Place) -> Mixed:
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, str | int):
            raise BadRequest(f"{place.path} must be a string, or a list of strings and tokens")
    return parts


@goshape.described(**goshape.schema_of(NATIVE["/api/chat"]["messages"]))
def _conversation(value: Any, place: Place) -> Any:
    """Read with the rest of a chat's body."""
    return value


REFUSED: Refusals = {"media_type": ("", "text")}
"""Media are not there yet."""

_TOKENIZE: goshape.Table = {
    "model": goshape.string,
    "content": _mixed,
    "messages": _conversation,
    **goshape.refusals(REFUSED),
    "add_special": goshape.boolean,
    "parse_special": goshape.boolean,
    "with_pieces": goshape.boolean,
}
_DETOKENIZE: goshape.Table = {
    "model": goshape.string,
    "tokens": goshape.list_of(goshape.integer, "[]int"),
}


def read_tokenize(body: bytes) -> TokenizeRequest:
    """Decode a body of ``/api/tokenize`` or ``/tokenize``.

    Raises:
        BadRequest: a field has the wrong type, or one that messages decide stands beside them.
        UnsupportedField: a medium other than text.
    """
    found = goshape.body(gojson.decode(body), _TOKENIZE, "TokenizeRequest")
    if "messages" in found:
        for name in ("content", "add_special", "parse_special"):
            if name in found:
                raise BadRequest(f"{name} and messages exclude each other")
        del found["messages"]
        found["turn"] = chat_turn(read_chat(body))
    return TokenizeRequest(**found)


def read_detokenize(body: bytes) -> DetokenizeRequest:
    """Decode a body of ``/api/detokenize`` or ``/detokenize``.

    Raises:
        BadRequest: a field has the wrong type, or there are too many tokens.
    """
    found = goshape.body(gojson.decode(body), _DETOKENIZE, "DetokenizeRequest")
    if len(found.get("tokens", ())) > MAX_TOKENS:
        raise BadRequest(f"tokens may be {MAX_TOKENS} at most")
    return DetokenizeRequest(**found)


def named(model: str) -> str:
    """The model a request must name.

    Raises:
        NotFound: it names none; Ollama's answer where nothing else is said.
    """
    if not model.strip():
        raise NotFound(f"model '{model}' not found")
    return model


def piece(text: bytes) -> str | list[int]:
    """A token's text; where that is not whole characters, its bytes."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return list(text)


def spelled(tokens: Iterable[int], pieces: Iterable[bytes]) -> list[dict[str, Any]]:
    """Tokens with their texts, as llama-server lists them."""
    return [{"id": token, "piece": piece(text)} for token, text in zip(tokens, pieces, strict=True)]


BODIES: dict[str, goshape.Table] = {
    "/api/tokenize": _TOKENIZE,
    "/tokenize": _TOKENIZE,
    "/api/detokenize": _DETOKENIZE,
    "/detokenize": _DETOKENIZE,
}
"""The tables of the bodies at these paths."""
