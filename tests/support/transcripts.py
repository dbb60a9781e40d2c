"""Golden transcripts: what a model writes, and what is to be made of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trillama.prompts.parsers.contract import AnswerParser, Tools
from trillama.prompts.parsers.family import Family


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    """A definition; parameters are schemas, or names of types."""
    properties = {
        key: value if isinstance(value, dict) else {"type": value}
        for key, value in parameters.items()
    }
    schema = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = Tools(
    [
        tool("get_weather", city="string", days="integer", metric="boolean"),
        tool("add", a="number", b="number"),
        tool("save", data="object", tags="array", note={"type": ["string", "null"]}),
        tool("now"),
    ]
)
WEATHER = ("get_weather", {"city": "Zürich"})
ADD = ("add", {"a": 1, "b": 2.5})
NESTED = ("save", {"data": {"x": [1, {"y": "}{]["}], "z": None}, "tags": ["a", "ß\n"]})
NOW = ("now", {})


@dataclass(frozen=True)
class Told:
    """What comes of an answer."""

    content: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    malformed: bool = False
    thinking: str = ""
    ids: tuple[str, ...] = ()


def told(parser: AnswerParser, pieces: Sequence[str]) -> Told:
    """What ``parser`` makes of an answer in these pieces."""
    said = [*map(parser.push, pieces), parser.finish()]
    calls = [call for piece in said for call in piece.tool_calls]
    assert [call.function.index for call in calls] == list(range(len(calls)))
    return Told(
        "".join(piece.content for piece in said),
        tuple((call.function.name, call.function.arguments) for call in calls),
        parser.malformed,
        "".join(piece.thinking for piece in said),
        tuple(call.id for call in calls if call.id),
    )


def splits(text: str) -> Iterator[list[str]]:
    """Whole, letter by letter, and in two at every position."""
    yield [text]
    yield list(text)
    for at in range(1, len(text)):
        yield [text[:at], text[at:]]


def check(family: Family, text: str, wanted: Told) -> None:
    """``text`` reads as ``wanted``, whatever pieces it comes in."""
    for pieces in splits(text):
        assert told(family.parser(TOOLS), pieces) == wanted, pieces


def cut(text: str, cuts: Sequence[int]) -> list[str]:
    """``text`` in pieces, cut at these positions."""
    edges = sorted({min(at, len(text)) for at in cuts} | {0, len(text)})
    return [text[a:b] for a, b in itertools.pairwise(edges)]
