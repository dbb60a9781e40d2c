"""``trillama tokenize`` and ``trillama embed``: texts as a model sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import msgspec

from trillama.base.errors import BadRequest

from .client import Client

AT_ONCE = 64
"""Lines of one request: many are computed together, and the first come soon."""


def tokenized(client: Client, model: str, text: str, *, count: bool, as_json: bool) -> str:
    """The tokens of a text: ids and pieces, a line each; only their number; or JSON."""
    found = client.call(
        "POST", "/api/tokenize", {"model": model, "content": text, "with_pieces": True}
    )
    if count:
        return f"{found['count']}\n"
    if as_json:
        return msgspec.json.encode(found).decode() + "\n"
    return "".join(f"{one['id']:>8}  {_shown(one['piece'])}\n" for one in found["pieces"])


def _shown(piece: str | list[int]) -> str:
    """A piece in quotes; bytes that are no text by themselves as hex."""
    if isinstance(piece, str):
        return msgspec.json.encode(piece).decode()
    return " ".join(f"{byte:02x}" for byte in piece)


def embedded(
    client: Client, model: str, texts: Sequence[str] | TextIO, fields: dict[str, Any]
) -> Iterator[str]:
    """One line of JSON for each text: its vector.

    Raises:
        BadRequest: there is no text.
    """
    lines = (line.rstrip("\n") for line in texts)
    some = False
    while batch := [line for _, line in zip(range(AT_ONCE), lines, strict=False)]:
        some = True
        body = {"model": model, "input": batch, **fields}
        for vector in client.call("POST", "/api/embed", body)["embeddings"]:
            yield msgspec.json.encode(vector).decode()
    if not some:
        raise BadRequest(
            'nothing to embed: trillama embed MODEL "a text", or a text a line on stdin'
        )
