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


def test_there_are_enough_cases() -> None:
    """The table covers the language: two hundred cases at least, in many topics."""
    assert len(CASES) >= 200
    assert len({case["topic"] for case in CASES}) >= 15
