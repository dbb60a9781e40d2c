"""From a constraint to the text of a grammar for llguidance. Pure.

The answer may be preceded by reasoning, in which anything goes: then a small grammar of its own
describes that, and refers to the constraint as ``@answer``. So the constraint begins at the very
byte where the reasoning ends, however tokens cut it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import msgspec
from llguidance import LLMatcher
from llguidance.gbnf_to_lark import gbnf_to_lark

from trillama.base.constraints import Constraint, ConstraintKind
from trillama.base.errors import BadRequest

MAX_SCHEMA, MAX_REGEX, MAX_GBNF = 1 << 20, 1 << 14, 1 << 15
"""Characters."""
MAX_STEP = 10_000
"""Largest ``multipleOf``."""
MAX_NESTING = 100
"""Brackets within brackets of a GBNF grammar; the converter recurses."""

_NAMES = {
    ConstraintKind.JSON: "format",
    ConstraintKind.SCHEMA: "format",
    ConstraintKind.REGEX: "regex",
    ConstraintKind.GBNF: "grammar",
    ConstraintKind.LARK: "grammar",
}
_ANY_OBJECT = '{"type":"object"}'
_JSON_RULES: Any = {
    # A model may lay JSON out as it is used to, but not pad it for ever.
    "whitespace_flexible": True,
    "whitespace_pattern": r"(\x20|\n[\x20\t]{0,64})",
    "item_separator": ",",
    "key_separator": ":",
    # What a client may not switch off from within its schema.
    "lenient": False,
    "coerce_one_of": False,
}


Grammar: TypeAlias = dict[str, Any]
"""One grammar of a document of llguidance."""


class Reasoning(msgspec.Struct, frozen=True):
    """The reasoning that may come before an answer.

    Attributes:
        open, close: the tags around it; ``open`` is "" where no reasoning may come.
        inside: the prompt has opened it already; otherwise the model may, or may not.
        lead: what stands before an answer without reasoning.
    """

    open: str
    close: str
    inside: bool = False
    lead: str = ""

    @property
    def wanted(self) -> bool:
        """Reasoning may come."""
        return self.inside or bool(self.open)


def option_name(constraint: Constraint) -> str:
    """What clients call this kind of constraint, for texts of errors."""
    return _NAMES[constraint.kind]


def grammar_text(
    constraint: Constraint, reasoning: Reasoning | None, controls: Mapping[str, int]
) -> str:
    """The grammar of whole answers.

    Args:
        controls: ids of tokens without text, by name: tags may be among them.

    Raises:
        BadRequest: the source is too large or no such text at all; the message names the option.
    """
    try:
        answer = _WRITERS[constraint.kind](constraint.source)
    except RecursionError:
        raise BadRequest(f"{option_name(constraint)}: too deeply nested") from None
    except ValueError as error:
        why = str(error).strip().split("\n", 1)[0]
        raise BadRequest(f"{option_name(constraint)}: {why}") from None
    if reasoning is None:
        return json.dumps({"grammars": [answer]})
    lead = {"lark_grammar": _preamble(reasoning, controls)}
    return json.dumps({"grammars": [lead, {**answer, "name": "answer"}]})


def atoms(text: str, controls: Mapping[str, int]) -> list[str | int]:
    """``text`` cut into plain text and the ids of control tokens."""
    names = sorted((name for name in controls if name and name in text), key=len, reverse=True)
    if not names:
        return [text]
    parts = re.split("(" + "|".join(map(re.escape, names)) + ")", text)
    return [controls.get(part, part) for part in parts if part]


def _preamble(reasoning: Reasoning, controls: Mapping[str, int]) -> str:
    lead = _sequence(atoms(reasoning.lead, controls)) if reasoning.lead else ""
    rules = [r"BLANK: /[\x20\n\r\t]{0,16}/"]
    begin = lead
    if reasoning.wanted:
        rules += _thought(atoms(reasoning.close, controls))
        opened = f"BLANK {_sequence(atoms(reasoning.open, controls))} thought"
        begin = f"({opened} | {lead})" if lead else f"({opened})?"
    if reasoning.inside:
        begin = "thought"
    return "\n".join([f"start: {begin} BLANK @answer", *rules, ""])


def _thought(close: list[str | int]) -> list[str]:
    """Rules for anything up to the closing tag, and the tag."""
    first, *rest = close
    if isinstance(first, int):
        return [f"thought: THOUGHT? {_sequence(close)}", "THOUGHT: /(?s:.+)/"]
    return [f"thought: until {_sequence(rest)}", f"until[lazy]: /(?s:.*){_slashed(first)}/"]


def _sequence(found: list[str | int]) -> str:
    return " ".join(
        f"<[{atom}]>" if isinstance(atom, int) else json.dumps(atom, ensure_ascii=False)
        for atom in found
    )


def _slashed(text: str) -> str:
    """``text`` as a regular expression between slashes."""
    return re.sub(r"[][\\^$.|?*+(){}&~#/-]", lambda found: "\\" + found[0], text)


def _schema(source: str) -> Grammar:
    if len(source) > MAX_SCHEMA:
        raise ValueError(f"the schema has more than {MAX_SCHEMA} characters")
    _refuse_large_steps(source)
    return _only(LLMatcher.grammar_from_json_schema(source, overrides=_JSON_RULES))


def _refuse_large_steps(source: str) -> None:
    """llguidance makes a state of each remainder: gigabytes for a million."""
    below = [json.loads(source)]
    while below:
        found = below.pop()
        if isinstance(found, dict):
            step = found.get("multipleOf")
            if isinstance(step, int | float) and step > MAX_STEP:
                raise ValueError(f"multipleOf may be {MAX_STEP} at most, not {step}")
            below += found.values()
        elif isinstance(found, list):
            below += found


def _regex(source: str) -> Grammar:
    if len(source) > MAX_REGEX:
        raise ValueError(f"the expression has more than {MAX_REGEX} characters")
    return _only(LLMatcher.grammar_from_regex(source))


def _gbnf(source: str) -> Grammar:
    if len(source) > MAX_GBNF:
        raise ValueError(f"the grammar has more than {MAX_GBNF} characters")
    if nesting(source) > MAX_NESTING:
        raise ValueError(f"the grammar nests more than {MAX_NESTING} brackets")
    try:
        return _lark(gbnf_to_lark(source))
    except Exception as error:  # the converter raises Exception itself
        raise ValueError(str(error)) from None


def _lark(source: str) -> Grammar:
    return {"lark_grammar": source}


def _only(written: str) -> Grammar:
    """The grammar in a document that has one."""
    (grammar,) = json.loads(written)["grammars"]
    return cast("Grammar", grammar)


def nesting(source: str) -> int:
    """How deep brackets open; those in strings count too."""
    deepest = depth = 0
    for letter in source:
        if letter in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in ")]}":
            depth = max(depth - 1, 0)
    return deepest


_WRITERS: dict[ConstraintKind, Callable[[str], Grammar]] = {
    ConstraintKind.JSON: lambda source: _schema(_ANY_OBJECT),
    ConstraintKind.SCHEMA: _schema,
    ConstraintKind.REGEX: _regex,
    ConstraintKind.GBNF: _gbnf,
    ConstraintKind.LARK: _lark,
}
