"""Arguments that are written as text get the types of their schema."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.transcripts import tool
from trillama.prompts.parsers.contract import Malformed, Tools
from trillama.prompts.parsers.literal import Literals
from trillama.prompts.parsers.typed import typed

ANY_OF = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
TOOLS = Tools(
    [tool("f", s="string", i="integer", n="number", b="boolean", a="array", o="object", u=ANY_OF)]
)


@pytest.mark.parametrize(
    ("key", "text", "wanted"),
    [
        ("s", "\n x \n", " x "), ("s", "12", "12"), ("s", "null", None), ("s", "", ""),
        ("s", "{}", "{}"), ("i", "12", 12), ("i", " -3\n", -3), ("i", "1.5", "1.5"),
        ("i", "many", "many"), ("n", "1.5", 1.5), ("n", "2.0", 2), ("n", "1e3", 1000),
        ("n", "nan", "nan"), ("b", "True", True), ("b", "false", False), ("b", "yes", "yes"),
        ("a", "[1, 2]", [1, 2]), ("a", "{}", "{}"), ("a", "[1", "[1"),
        ("o", '{"x": [1]}', {"x": [1]}), ("u", "7", 7), ("u", "NULL", None), ("unknown", "7", "7"),
        ("i", "9" * 30, "9" * 30),
        ("n", "1e999", "1e999"),
    ],
)  # fmt: skip
def test_values(key: str, text: str, wanted: Any) -> None:
    """In Ollama's order of attempts; what fits none is the text."""
    found = typed(text, TOOLS, "f", key)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    "text",
    ["f(1)", "f(a=)", "f(a=b)", "f(a=1, a=2)", "f(", "f", "1", "f(a=1) x", "f(a=[1)", "f(a={1})",
     "f(a=" + "[" * 200, "f(a=" + "{'a':" * 5000, "f(a=__import__('os'))", "f(a=1+1)"],
)  # fmt: skip
def test_only_literals_are_read(text: str) -> None:
    """Anything else is malformed; nothing runs and nothing recurses without end."""
    with pytest.raises(Malformed):
        list(Literals(text).calls())


def test_literals_of_all_kinds() -> None:
    """Python's and JSON's words, both quotes, escapes, nested values."""
    text = r"""f(a='it\'s', b="\u00fc\n", c=[1, -2.5, True, None], d={"x": (1,), 'y': false})"""
    (call,) = Literals(text).calls()

    assert call.function.arguments == {
        "a": "it's",
        "b": "ü\n",
        "c": [1, -2.5, True, None],
        "d": {"x": [1], "y": False},
    }
