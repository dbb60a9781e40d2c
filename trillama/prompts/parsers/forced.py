"""Rules for calls of tools, as grammars of llguidance.

``forced`` makes a model call, for ``tool_choice``: the answer is, after its reasoning, one call or
several in the family's own format, of the tools that may be called, with arguments that keep their
schemas. ``bound`` leaves a model free to say what it likes, but a call that it begins becomes one
of these. Pure: text in, text out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trillama.base.constraints import Constraint, ConstraintKind
from trillama.base.errors import BadRequest, Unsupported
from trillama.base.turns import ToolChoice, ToolMode

from .contract import arguments_schema
from .envelope import Envelope
from .family import Family

MOST_CALLS = 16
"""Calls in one answer; without a bound a small model may never come to an end."""
_RULES = {
    "whitespace_flexible": True,
    "whitespace_pattern": r"(\x20|\n[\x20\t]{0,64})",
    "item_separator": ",",
    "key_separator": ":",
    # Definitions come from frameworks that write keywords nobody enforces; a call is still a call.
    "lenient": True,
}
_TEXTUAL = {"string", "null"}
_COMBINED = {"$ref", "allOf", "anyOf", "oneOf"}
"""Keywords by which properties come from elsewhere; to allow no others would forbid these."""


def forced(
    family: Family,
    tools: Sequence[Mapping[str, Any]],
    choice: ToolChoice,
    controls: Mapping[str, int],
    *,
    parallel: bool = True,
) -> Constraint | None:
    """The rule for answers to a request with this choice; None where it leaves them free.

    Args:
        controls: ids of tokens without text, by name: marks may be among them.
        parallel: several calls are allowed.

    Raises:
        BadRequest: a tool is wanted that is not offered, or there are none.
        Unsupported: nobody can write the family's format yet.
    """
    if choice.mode not in (ToolMode.REQUIRED, ToolMode.NAMED):
        return None
    functions = [tool["function"] for tool in tools]
    if not functions:
        raise BadRequest("tool_choice needs tools")
    if choice.mode is ToolMode.NAMED:
        functions = [one for one in functions if one["name"] == choice.name]
        if not functions:
            raise BadRequest(f'tool_choice names "{choice.name}", which is none of the tools')
    if not family.envelopes:
        raise Unsupported(
            "not supported by this version of trillama: "
            f"tool_choice for tool calls in the format of {family.name}"
        )
    several = parallel and choice.mode is not ToolMode.NAMED
    lines = _grammar(family.envelopes, functions, controls, several)
    return Constraint(ConstraintKind.LARK, "\n".join(lines) + "\n")


def bound(
    family: Family, tools: Sequence[Mapping[str, Any]], controls: Mapping[str, int]
) -> Constraint | None:
    """The rule for answers that may call; None where nothing shows that a call begins.

    Args:
        controls: as above.
    """
    begun = [
        (mark, envelope)
        for envelope in family.envelopes
        for mark in family.openings
        if (envelope.lead or envelope.before).startswith(mark) and not envelope.thought
    ]
    if not begun or not tools:
        return None
    lines = _free_grammar(begun, [tool["function"] for tool in tools], controls)
    return Constraint(ConstraintKind.LARK, "\n".join(lines) + "\n")


def _free_grammar(
    begun: Sequence[tuple[str, Envelope]],
    functions: Sequence[Mapping[str, Any]],
    controls: Mapping[str, int],
) -> Iterator[str]:
    """Lines of a grammar of text without marks, and of calls in whole.

    Args:
        begun: the formats, each with the mark by which a call shows itself.
    """
    writer = _Writer(controls)
    marks = list(dict.fromkeys(mark for mark, _ in begun))
    texts = [_slashed(mark) for mark in marks if mark not in controls]
    yield "start: (" + " | ".join(f"marked_{at}" for at in range(len(marks))) + ")* FREE?"
    for at, mark in enumerate(marks):
        yield (
            f"marked_{at}: begun_{at} ("
            + " | ".join(f"answer_{number}" for number, one in enumerate(begun) if one[0] == mark)
            + ")"
        )
        if mark in controls:
            yield f"begun_{at}: FREE? {writer.text(mark)}"
        else:
            yield f"begun_{at}[lazy]: /(?s:.*){_slashed(mark)}/"
    for number, (mark, envelope) in enumerate(begun):
        rest, several = _behind(mark, envelope), bool(envelope.lead)
        inner = _Writer(controls, loose=not envelope.key)
        yield from inner.answer(number, rest, len(functions), several)
        for which, function in enumerate(functions):
            yield from inner.call(f"{number}_{which}", rest, function)
    yield "AT: /[0-9]{1,2}/"
    yield r"BLANK: /[\x20\n\t]{0,32}/"
    unmarked = f" & ~/(?s:.*)({'|'.join(texts)})(?s:.*)/" if texts else ""
    yield f"FREE: /(?s:.+)/{unmarked}"


def _behind(mark: str, envelope: Envelope) -> Envelope:
    """What of a format comes after its mark."""
    if envelope.lead:
        return replace(envelope, lead=envelope.lead.removeprefix(mark))
    return replace(envelope, before=envelope.before.removeprefix(mark))


def _grammar(
    envelopes: Sequence[Envelope],
    functions: Sequence[Mapping[str, Any]],
    controls: Mapping[str, int],
    several: bool,
) -> Iterator[str]:
    """Lines of a grammar whose alternatives are the formats of the family."""
    writer = _Writer(controls)
    yield "start: " + " | ".join(f"answer_{at}" for at in range(len(envelopes)))
    for at, envelope in enumerate(envelopes):
        yield from writer.answer(at, envelope, len(functions), several)
        for number, function in enumerate(functions):
            yield from writer.call(f"{at}_{number}", envelope, function)
    yield "AT: /[0-9]{1,2}/"
    yield "ANY: /(?s:.+)/"


class _Writer:
    """Writes rules, marks that are control tokens by their ids.

    Args:
        loose: where a format has a line break, other blanks or none will do, and a function that
            describes no arguments may get any.
    """

    def __init__(self, controls: Mapping[str, int], *, loose: bool = False) -> None:
        self._controls = controls
        self._loose = loose

    def text(self, text: str) -> str:
        """A sequence that matches ``text``; ``""`` where there is none."""
        marks = [name for name in self._controls if name and name in text] + ["{at}"]
        seams = [*map(re.escape, marks), *([r"\s*\n\s*|^\s+"] if self._loose else [])]
        parts = re.split("(" + "|".join(seams) + ")", text)
        return " ".join(map(self._part, filter(None, parts)))

    def _part(self, part: str) -> str:
        if part == "{at}":
            return "AT"
        if self._loose and part.isspace():
            return "BLANK"
        if part in self._controls:
            return f"<[{self._controls[part]}]>"
        return json.dumps(part, ensure_ascii=False)

    def answer(self, at: int, envelope: Envelope, count: int, several: bool) -> Iterator[str]:
        """The rule of whole answers of one format."""
        call = f"call_{at}"
        more = ""
        if several and envelope.joint is not None:
            more = f"({self.text(envelope.joint)} {call}){{0,{MOST_CALLS - 1}}}"
        parts = [self.text(envelope.lead), call, more, self.text(envelope.trail)]
        if envelope.thought:
            opens, closes = map(self.text, envelope.thought)
            parts.insert(0, f"({opens} ANY {closes})?")
        yield f"answer_{at}: " + " ".join(filter(None, parts))
        yield f"{call}: " + " | ".join(f"call_{at}_{number}" for number in range(count))

    def call(self, rule: str, envelope: Envelope, function: Mapping[str, Any]) -> Iterator[str]:
        """The rules of one function's calls."""
        name = json.dumps(function["name"], ensure_ascii=False)[1:-1]
        before = self.text(envelope.before.replace("{name}", name))
        schema = arguments_schema(function)
        closed = schema.get("properties") or not self._loose
        if closed and not _COMBINED & schema.keys():
            schema = {"additionalProperties": False, **schema}
        if not envelope.key:
            yield f"call_{rule}: {before} arguments_{rule} {self.text(envelope.after)}"
            yield f"arguments_{rule}: %json {_json(schema)}"
            return
        required = set(_list(schema.get("required")))
        keys: list[str] = []
        for number, (key, one) in enumerate(_object(schema.get("properties")).items()):
            keys.append(f"key_{rule}_{number}" + "?" * (key not in required))
            yield from self._value(f"{rule}_{number}", envelope, key, one, schema)
        yield f"call_{rule}: {before} {' '.join(keys)} {self.text(envelope.after)}"

    def _value(
        self, rule: str, envelope: Envelope, key: str, one: Any, schema: Mapping[str, Any]
    ) -> Iterator[str]:
        begin = self.text(envelope.key.replace("{key}", key))
        yield f"key_{rule}: {begin} value_{rule}"
        if _is_text(one):
            yield f"value_{rule}[lazy]: /(?s:.*){_slashed(envelope.value_end)}/"
            return
        local = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
        yield f"value_{rule}: json_{rule} {self.text(envelope.value_end)}"
        yield f"json_{rule}: %json {_json({**local, **_object(one)})}"


def _json(schema: Mapping[str, Any]) -> str:
    return json.dumps({**schema, "x-guidance": _RULES})


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else ()


def _is_text(schema: Any) -> bool:
    """Whether a value is written as it is: text without a list of what it may be."""
    types = _object(schema).get("type", "string")
    kinds = {types} if isinstance(types, str) else set(_list(types))
    return kinds <= _TEXTUAL and not {"enum", "const", "anyOf", "oneOf"} & set(_object(schema))


def _slashed(text: str) -> str:
    """``text`` as a regular expression between slashes."""
    return re.sub(r"[][\\^$.|?*+(){}&~#/-]", lambda found: "\\" + found[0], text)
