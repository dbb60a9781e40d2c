"""Tables of request fields: each has an effect that is shown, or is refused by name.

A table maps a field to what sending it does. ``Effect`` gives a value and what changes in the
neutral request; ``Shown`` names the test that shows an effect elsewhere; ``Refused`` a value that
must be refused, ``OldName`` one that is refused by its newer name; ``Label`` marks what by the
dialect's own definition changes no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import pytest

from tests.support.source import ROOT
from trillama.base.errors import UnsupportedField
from trillama.base.turns import TurnRequest
from trillama.wire.goshape import Refusals


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
class OldName:
    """``value`` is refused by the name the field has today."""

    value: Any
    today: str


@dataclass(frozen=True)
class Label:
    """``value`` is accepted and changes nothing."""

    value: Any


Row: TypeAlias = Effect | Shown | Refused | OldName | Label


def fields_of(kind: type[msgspec.Struct]) -> set[str]:
    """The names on the wire of a struct's fields."""
    return set(kind.__struct_encode_fields__)


Neutral: TypeAlias = TurnRequest | dict[str, Any]
"""What is asked, in neutral words."""


def changed(before: Neutral, after: Neutral) -> dict[str, Any]:
    """Fields in which two neutral requests differ, as they are in the second."""
    was, now = (
        one if isinstance(one, dict) else msgspec.structs.asdict(one) for one in (before, after)
    )
    return {name: value for name, value in now.items() if was[name] != value}


Table: TypeAlias = Mapping[str, Row]
Asked: TypeAlias = Callable[..., Neutral]
"""From fields laid over a small request to what is asked."""


def check_names(
    table: Table, kind: type[msgspec.Struct], official: set[str], refused: Refusals
) -> None:
    """The rows are the struct's fields, all official ones among them, and agree on refusals."""
    assert set(table) == fields_of(kind)
    assert official <= set(table)
    assert {name for name, row in table.items() if isinstance(row, Refused)} == set(refused)


def check_row(name: str, row: Row, asked: Asked, refused: Refusals) -> None:
    """The field does what its row says, and nothing else; ``null`` is the same as nothing."""
    before = asked()
    if isinstance(row, Refused):
        with pytest.raises(UnsupportedField, match=name) as told:
            asked(**{name: row.value, **(row.beside or {})})
        assert told.value.field == name
        for harmless in (None, *refused[name]):
            assert asked(**{name: harmless}) == before
    elif isinstance(row, OldName):
        with pytest.raises(UnsupportedField, match=row.today):
            asked(**{name: row.value})
    elif isinstance(row, Effect):
        assert changed(before, asked(**{name: row.value, **(row.beside or {})})) == row.changes
    else:
        assert changed(before, asked(**{name: row.value})) == {}
    if isinstance(row, Shown):
        path, _, test = row.test.partition("::")
        assert f"def {test}(" in (ROOT / path).read_text("utf-8")


class Kind(msgspec.Struct, frozen=True):
    """A body: its reader, a small one, its rows, the paths it is sent to, and what it refuses."""

    read: Callable[[bytes], Any]
    base: dict[str, Any]
    table: Table
    paths: tuple[str, ...]
    refused: Refusals = {}

    def asked(self, **fields: Any) -> dict[str, Any]:
        """What is asked by the small body with ``fields`` over it."""
        found = self.read(msgspec.json.encode(self.base | fields))
        found = found if isinstance(found, dict) else msgspec.structs.asdict(found)
        inner = found.pop("request", None)
        return found | (msgspec.structs.asdict(inner) if inner else {})

    def check(self, name: str) -> None:
        """The field does what its row says."""
        check_row(name, self.table[name], self.asked, self.refused)


def check_kinds(kinds: Iterable[Kind], bodies: Mapping[str, Mapping[str, Any]]) -> None:
    """The rows are the fields of the bodies at every path, and agree on refusals."""
    found = {path: set(kind.table) for kind in kinds for path in kind.paths}
    assert found == {path: set(table) for path, table in bodies.items()}
    for kind in kinds:
        assert set(kind.refused) == {k for k, row in kind.table.items() if isinstance(row, Refused)}


def rows(kinds: Iterable[Kind]) -> list[Any]:
    """Every row, as a parameter of a test."""
    return [
        pytest.param(kind, name, id=f"{kind.paths[0]}-{name}")
        for kind in kinds
        for name in kind.table
    ]
