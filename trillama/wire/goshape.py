"""Decoded JSON into typed fields, refusing what Go would refuse, in Go's words.

A reader takes a value and the ``Place`` it stands at. ``fields`` reads an object by a table of
readers: unknown keys are skipped, keys match without regard to case when none matches exactly, and
``null`` means absent, as does what is read as None. The first mismatch in the order of the document
is reported.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..base.durations import keep_alive_from_json
from ..base.errors import BadRequest, UnsupportedField
from .gojson import kind_of


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: the Go struct of the body and the path below it."""

    struct: str
    path: str = ""

    def below(self, name: str) -> Place:
        """The place of a member."""
        return Place(self.struct, f"{self.path}.{name}" if self.path else name)

    def mismatch(self, value: object, go_type: str) -> BadRequest:
        """The error for a value of the wrong kind."""
        shown = kind_of(value)
        if isinstance(value, float) and go_type == "int":
            shown = f"number {value}" if value.is_integer() else f"number {value:g}"
        where = f"struct field {self.struct}.{self.path}" if self.path else "value"
        return BadRequest(f"json: cannot unmarshal {shown} into Go {where} of type {go_type}")


Reader: TypeAlias = Callable[[Any, Place], Any]
Table: TypeAlias = Mapping[str, Reader]

Refusals: TypeAlias = Mapping[str, tuple[Any, ...]]
"""Fields to refuse, and the values of each that ask for nothing we do not do anyway."""

_SCHEMAS: dict[Reader, dict[str, Any]] = {}


def schema_of(read: Reader) -> dict[str, Any]:
    """The JSON Schema of what ``read`` reads; empty where it says nothing of itself."""
    return _SCHEMAS.get(read, {})


def table_schema(table: Table) -> dict[str, Any]:
    """The JSON Schema of an object with the members of ``table``; ``null`` means absent."""
    shown = {name: {"anyOf": [schema_of(read), {"type": "null"}]} for name, read in table.items()}
    plain = {name: schema if schema["anyOf"][0] else {} for name, schema in shown.items()}
    return {"type": "object", "properties": plain}


def described(**schema: Any) -> Callable[[Reader], Reader]:
    """Say in JSON Schema's words what a reader reads."""

    def tell(read: Reader) -> Reader:
        _SCHEMAS[read] = schema
        return read

    return tell


@described(type="string")
def string(value: Any, place: Place) -> str:
    """A string."""
    if not isinstance(value, str):
        raise place.mismatch(value, "string")
    return value


@described(type="boolean")
def boolean(value: Any, place: Place) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise place.mismatch(value, "bool")
    return value


@described(type="integer", minimum=-(2**63), maximum=2**63 - 1)
def integer(value: Any, place: Place) -> int:
    """A number written without fraction or exponent, of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise place.mismatch(value, "int")
    if not -(2**63) <= value < 2**63:
        raise BadRequest(
            f"json: cannot unmarshal number {value} into Go struct field "
            f"{place.struct}.{place.path} of type int"
        )
    return value


@described(type="object")
def mapping(value: Any, place: Place) -> dict[str, Any]:
    """An object of any members."""
    if not isinstance(value, dict):
        raise place.mismatch(value, "map[string]interface {}")
    return value


@described(type=["string", "number"])
def keep_alive(value: Any, place: Place) -> int | None:
    """A duration as Ollama takes it, in nanoseconds."""
    try:
        return keep_alive_from_json(value)
    except ValueError as error:
        raise BadRequest(str(error)) from None


def anything(value: Any, place: Place) -> Any:
    """Whatever it is."""
    return value


def label(value: Any, place: Place) -> None:
    """What by its own definition changes no answer."""


def refusals(refused: Refusals) -> Table:
    """Readers that refuse fields by name, but for values that ask for nothing."""
    return {name: _refusal(harmless) for name, harmless in refused.items()}


def _refusal(harmless: tuple[Any, ...]) -> Reader:
    @described(
        enum=list(harmless),
        description="known and not supported: other values are refused by name",
    )
    def refuse(value: Any, place: Place) -> None:
        if value not in harmless:
            raise UnsupportedField(place.path)

    return refuse


@described(type="string", contentEncoding="base64")
def picture(value: Any, place: Place) -> bytes:
    """Standard padded base64; newlines in it are tolerated."""
    if isinstance(value, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
        return bytes(value)
    text = string(value, place).replace("\n", "").replace("\r", "")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"illegal base64 data at input byte {_bad_base64(text)}") from None


def _bad_base64(text: str) -> int:
    letters = (c.isascii() and (c.isalnum() or c in "+/") for c in text)
    plain = next((at for at, good in enumerate(letters) if not good), len(text))
    padded = text[plain:].count("=") == len(text) - plain and len(text) % 4 == 0
    return len(text) // 4 * 4 if padded or plain == len(text) else plain


def list_of(read: Reader, go_type: str) -> Reader:
    """An array whose items ``read`` reads; ``null`` items are left out."""

    def reader(value: Any, place: Place) -> list[Any]:
        if not isinstance(value, list):
            raise place.mismatch(value, go_type)
        return [read(item, place) for item in value if item is not None]

    return described(type="array", items=schema_of(read))(reader)


def struct_of(table: Table, go_type: str, make: Callable[..., Any] = dict) -> Reader:
    """An object of the members in ``table``, handed to ``make`` by name."""

    def reader(value: Any, place: Place) -> Any:
        if not isinstance(value, dict):
            raise place.mismatch(value, go_type)
        return make(**fields(value, table, place))

    return described(**table_schema(table))(reader)


def fields(members: Mapping[str, Any], table: Table, place: Place) -> dict[str, Any]:
    """The members of an object that ``table`` knows and that are not ``null``."""
    found: dict[str, Any] = {}
    for key, value in members.items():
        name = key if key in table else key.lower()
        if name in table and value is not None:
            read = table[name](value, place.below(name))
            if read is not None:
                found[name] = read
    return found


def body(value: Any, table: Table, go_name: str) -> dict[str, Any]:
    """The fields of a request; a body of ``null`` has none.

    Raises:
        BadRequest: the body is no object, or a field has the wrong type.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Place(go_name).mismatch(value, f"api.{go_name}")
    return fields(value, table, Place(go_name))
