"""Answers read to their end, for bodies that are sent in one piece; every dialect's."""

from __future__ import annotations

from collections.abc import Iterable

from ..base.turns import Finished, Piece, TurnEvent
from .turn import Turn


def joined(events: Iterable[TurnEvent]) -> tuple[Piece, Finished]:
    """All that was said as one piece, and how it ended."""
    pieces: list[Piece] = []
    end: Finished | None = None
    for event in events:
        if isinstance(event, Piece):
            pieces.append(event)
        else:
            end = event
    assert end is not None
    said = Piece(
        "".join(piece.content for piece in pieces),
        "".join(piece.thinking for piece in pieces),
        tuple(call for piece in pieces for call in piece.tool_calls),
        tuple(logprob for piece in pieces for logprob in piece.logprobs),
    )
    return said, end


async def read_whole(turn: Turn) -> tuple[Piece, Finished]:
    """Read ``turn`` to its end and close it.

    Raises:
        TrillamaError: what ended the answer.
    """
    events: list[TurnEvent] = []
    while more := await turn.receive_many():
        events += more
    turn.close()
    return joined(events)
