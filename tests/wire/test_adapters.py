"""The field ``adapter`` in all its forms, and what is none of them."""

from __future__ import annotations

from typing import Any

import pytest

from trillama.base.adapters import AdapterChoice
from trillama.base.errors import BadField
from trillama.wire.adapters import adapter_choices

B, HALF = AdapterChoice("b"), AdapterChoice("c", 0.5)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        ([], ()),
        ("b", (B,)),
        ({"name": "b"}, (B,)),
        ({"name": "c", "scale": 0.5}, (HALF,)),
        (["b", {"name": "c", "scale": 0.5}], (B, HALF)),
        ({"name": "b", "scale": -1}, (AdapterChoice("b", -1.0),)),
    ],
)
def test_forms(value: Any, wanted: tuple[AdapterChoice, ...] | None) -> None:
    """A name, an object, a list of either; nothing at all leaves it to the model."""
    assert adapter_choices(value) == wanted


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (5, "adapter"), (True, "adapter"), ({"id": 0}, "adapter"), ([["b"]], "adapter"),
        (["b"] * 9, "adapter"), ("", "adapter.name"), ({"scale": 1}, "adapter.name"),
        ({"name": 5}, "adapter.name"), ({"name": "b", "scale": "1"}, "adapter.scale"),
        ({"name": "b", "scale": True}, "adapter.scale"),
        ({"name": "b", "scale": float("nan")}, "adapter.scale"),
        ({"name": "b", "scale": 1e9}, "adapter.scale"),
        ({"name": "b", "scale": 10**400}, "adapter.scale"),
        ({"name": "b", "strength": 1}, "adapter"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused_by_name(value: Any, field: str) -> None:
    """The error carries the field."""
    with pytest.raises(BadField) as caught:
        adapter_choices(value)
    assert caught.value.field == field
