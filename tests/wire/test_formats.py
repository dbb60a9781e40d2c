"""What an answer must look like, as Ollama's clients and ours ask for it."""

from __future__ import annotations

from typing import Any

import pytest

from trillama.base.constraints import Constraint, ConstraintKind
from trillama.base.errors import BadRequest
from trillama.wire.formats import constraint


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_format_is_no_rule(nothing: Any) -> None:
    """Also an empty one; options stay as they are."""
    assert constraint(nothing, {"seed": 1}) == (None, {"seed": 1})


def test_a_schema_keeps_the_order_of_its_keys() -> None:
    """The order of properties is that of the answer."""
    schema = {"type": "object", "properties": {"z": {}, "a": {}}}
    rule, _ = constraint(schema, {})

    assert rule == Constraint(
        ConstraintKind.SCHEMA, '{"type":"object","properties":{"z":{},"a":{}}}'
    )


def test_json_is_any_object() -> None:
    """The word, not the type."""
    assert constraint("json", {})[0] == Constraint(ConstraintKind.JSON)


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [("xml", r'"\"xml\""'), (5, '"5"'), ([], '"[]"'), (True, '"true"')],
)
def test_anything_else_is_no_format(wrong: Any, shown: str) -> None:
    """With Ollama's words."""
    with pytest.raises(BadRequest) as caught:
        constraint(wrong, {})
    expected = f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
    assert str(caught.value) == expected


def test_our_own_rules_stand_among_the_options() -> None:
    """They are no sampling options and do not reach the merge."""
    options = {"grammar": 'root ::= "a"', "seed": 1}
    rule, rest = constraint(None, options)

    assert rule == Constraint(ConstraintKind.GBNF, 'root ::= "a"')
    assert rest == {"seed": 1}
    assert constraint(None, {"regex": "a+"})[0] == Constraint(ConstraintKind.REGEX, "a+")
    assert constraint("json", {"regex": "", "grammar": None})[0] == Constraint(ConstraintKind.JSON)


def test_one_rule_is_enough() -> None:
    """Nobody guesses which of two counts."""
    with pytest.raises(BadRequest, match="format and regex exclude each other"):
        constraint("json", {"regex": "a"})
    with pytest.raises(BadRequest, match='option "grammar" must be of type string'):
        constraint(None, {"grammar": ["a"]})
