"""What the cost of a schema is computed from, and that requests carry it."""

from __future__ import annotations

import json

import jsonschema

from bench.load import Target, request_body
from bench.structured import BOMBS, SCHEMA, Bombed, Pair, format_bombed, format_pairs


def test_a_request_carries_what_the_target_adds() -> None:
    """Fields beside the others, options among the options."""
    target = Target("http://x", "ollama", "m", {"format": SCHEMA, "options": {"regex": "a"}})
    body = json.loads(request_body(target, "p", 7))

    assert body["format"] == SCHEMA
    assert (body["options"]["regex"], body["options"]["num_predict"]) == ("a", 7)
    assert "options" in target.extra


def test_the_schema_is_one_and_outlasts_every_answer() -> None:
    """An answer cannot be complete before its length is reached."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["minItems"] == 500
    assert len(BOMBS) >= 3


def test_ratios_are_those_of_neighbours() -> None:
    """The middle one, and their range."""
    pairs = [
        Pair(1, 100.0, 99.0, 2.0, 1.0, 0),
        Pair(1, 50.0, 55.0, 2.0, 2.0, 0),
        Pair(1, 80.0, 76.0, 2.0, 4.0, 2),
    ]
    text = format_pairs(pairs)

    assert "0.99" in text
    assert "0.95..1.10" in text
    assert text.splitlines()[1].endswith("1.00")
    assert "! 2 errors" in text


def test_bombs_are_told_one_by_one() -> None:
    """With the time each took to be refused."""
    text = format_bombed(Bombed(100.0, 97.5, [(1.52, "format: not compiled")]))

    assert "97.5" in text
    assert "1.52 s  format: not compiled" in text
