"""Tables of request fields: each has an effect that is shown, or is refused by name.

A table maps a field to what sending it does. ``Effect`` gives a value and what changes in the
neutral request; ``Shown`` names the test that shows an effect elsewhere; ``Refused`` a value that
must be refused; ``Label`` marks what by the dialect's own definition changes no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from trillama.base.turns import TurnRequest


@dataclass(frozen=True)
class Effect:
    """Sending ``value`` changes the neutral request to hold ``changes``; ``beside`` goes along."""

    value: Any
    changes: dict[str, Any]
    beside: dict[str, Any] | None = None


@dataclass(frozen=True)
class Shown:
    """``value`` is accepted; the effect is on the records, and ``test`` shows it."""

    value: Any
    test: str


@dataclass(frozen=True)
class Refused:
    """``value`` is refused by the field's name; ``beside`` goes along."""

    value: Any
    beside: dict[str, Any] | None = None


@dataclass(frozen=True)
class Label:
    """``value`` is accepted and changes nothing."""

    value: Any


Row: TypeAlias = Effect | Shown | Refused | Label


def fields_of(kind: type[msgspec.Struct]) -> set[str]:
    """The names on the wire of a struct's fields."""
    return set(kind.__struct_encode_fields__)


def changed(before: TurnRequest, after: TurnRequest) -> dict[str, Any]:
    """Fields in which two neutral requests differ, as they are in the second."""
    return {
        name: getattr(after, name)
        for name in TurnRequest.__struct_fields__
        if getattr(before, name) != getattr(after, name)
    }
