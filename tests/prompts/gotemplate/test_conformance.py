"""Templates do what Go's documents say, down to the texts of errors.

``cases.jsonl`` holds the data every template works on in its first line, then one case a line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trillama.base.errors import TemplateError
from trillama.prompts.gotemplate.template import compile_template

LINES = (Path(__file__).parent / "cases.jsonl").read_text("utf-8").split("\n")
DATA: dict[str, Any] = json.loads(LINES[0])
CASES: list[dict[str, str]] = [json.loads(line) for line in LINES[1:] if line]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['topic']}: {case['source']}")
def test_a_template_does_what_go_does(case: dict[str, str]) -> None:
    """The text is Go's, or the error is, with the place where it happened."""
    if "text" in case:
        assert compile_template(case["source"]).execute(DATA) == case["text"]
        return
    with pytest.raises(TemplateError) as caught:
        compile_template(case["source"]).execute(DATA)
    assert str(caught.value) == case["error"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('{{ printf "%.3T|%T" 1 "a" }}', "int|string"),
        ('{{ printf "%U" -7 }}', "U+FFFFFFFFFFFFFFF9"),
        ('{{ printf "%.*f" -1 2.5 }}', "%!(BADPREC)2.500000"),
        ('{{ printf "%#g|%#g|%#v" 1.0 123456789.0 1.0 }}', "1.00000|1.23456789e+08|1"),
        ('{{ printf "%#g|%#g" 0.0 0.25 }}', "0.00000|0.250000"),
    ],
)
def test_rare_verbs(source: str, text: str) -> None:
    """Corners of printf."""
    assert compile_template(source).execute(DATA) == text


def test_there_are_enough_cases() -> None:
    """The table covers the language: two hundred cases at least, in many topics."""
    assert len(CASES) >= 200
    assert len({case["topic"] for case in CASES}) >= 15
