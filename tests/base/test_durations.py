"""Durations of requests, in nanoseconds."""

from __future__ import annotations

import pytest

from trillama.base.durations import FOREVER, SECOND, keep_alive_from_json


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        (0, 0),
        (1.5, SECOND * 3 // 2),
        ("2s", 2 * SECOND),
        (-1, FOREVER),
        (-0.5, FOREVER),
        (-1e308, FOREVER),
        (1e308, FOREVER),
        (10**400, FOREVER),
        (-(10**400), FOREVER),
        ("-1s", FOREVER),
    ],
)
def test_keep_alive(value: object, wanted: int | None) -> None:
    """Seconds or a duration; below zero, or more than there is, is for ever."""
    assert keep_alive_from_json(value) == wanted


@pytest.mark.parametrize("value", [True, [], {}, "soon", float("inf"), float("nan")])
def test_what_is_no_keep_alive(value: object) -> None:
    """Refused."""
    with pytest.raises(ValueError, match=r".+"):
        keep_alive_from_json(value)
