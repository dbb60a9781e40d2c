"""The field ``adapter``, trillama's own: which LoRA adapters a request is computed with.

A name of an installed model that has one, an object with ``name`` and ``scale``, or a list of
either; an empty list means none, not even the model's own.
"""

from __future__ import annotations

from typing import Any

from ..base.adapters import AdapterChoice
from ..base.errors import BadField
from . import goshape

MOST, LARGEST = 8, 100.0
_SCALED = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "scale": {"type": "number", "minimum": -LARGEST, "maximum": LARGEST},
    },
    "required": ["name"],
}
_FORMS = [{"type": "string"}, _SCALED]
_LIST = {"type": "array", "items": {"anyOf": _FORMS}, "maxItems": MOST}


def adapter_choices(value: Any) -> tuple[AdapterChoice, ...] | None:
    """Which adapters are wanted; None leaves it to the model.

    Raises:
        BadField: it is none of the forms, or there are too many.
    """
    if value is None:
        return None
    wanted = value if isinstance(value, list) else [value]
    if len(wanted) > MOST:
        raise BadField("adapter", f"at most {MOST} adapters can be combined")
    return tuple(map(_choice, wanted))


def _choice(value: Any) -> AdapterChoice:
    fields = {"name": value} if isinstance(value, str) else value
    if not isinstance(fields, dict) or not fields.keys() <= {"name", "scale"}:
        raise BadField("adapter", 'adapter must be a name, {"name": …, "scale": …}, or a list')
    name, scale = fields.get("name"), fields.get("scale", 1.0)
    if not isinstance(name, str) or not name.strip():
        raise BadField("adapter.name", "adapter.name must be the name of a model that has one")
    number = isinstance(scale, int | float) and not isinstance(scale, bool)
    if not number or not abs(scale) <= LARGEST:  # NaN is not, either
        raise BadField("adapter.scale", f"adapter.scale must be a number up to {LARGEST:g}")
    return AdapterChoice(name, float(scale))


@goshape.described(anyOf=[*_FORMS, _LIST])
def adapter(value: Any, place: goshape.Place) -> tuple[AdapterChoice, ...] | None:
    """Reads the field in a table of Ollama's dialect."""
    return adapter_choices(value)
