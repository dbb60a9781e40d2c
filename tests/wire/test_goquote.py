"""Quoted text as Go writes it."""

from __future__ import annotations

import pytest

from trillama.wire.goquote import quote


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", '""'),
        ("plain ü 😀", '"plain ü 😀"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("\a\b\f\n\r\t\v", '"\\a\\b\\f\\n\\r\\t\\v"'),
        ("\x00\x1f\x7f", '"\\x00\\x1f\\x7f"'),
        ("\u00a0\u200d\ufeff", '"\\u00a0\\u200d\\ufeff"'),
        ("\U000e0001", '"\\U000e0001"'),
    ],
)
def test_quote(text: str, quoted: str) -> None:
    """What prints stays, the rest is escaped in Go's forms."""
    assert quote(text) == quoted
