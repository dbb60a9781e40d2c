"""From the bytes of a request to a struct, for dialects whose fields are msgspec structs.

Unknown fields are skipped. A field that is known and cannot be honoured stands in the struct and in
a table of refusals, so that whoever sends it learns its name; ``null`` always means "not sent".
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

import msgspec

from ..base.errors import BadField, BadRequest, UnsupportedField
from . import gojson
from .goshape import Refusals

_T = TypeVar("_T", bound=msgspec.Struct)
_PLACE = re.compile(r" - at `(?P<key>key in )?\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")


class RequestReader(Generic[_T]):
    """Reads bodies of one kind.

    Args:
        kind: the struct of the body.
        refused: fields of it that are refused, see ``Refusals``.
    """

    def __init__(self, kind: type[_T], refused: Refusals) -> None:
        self.kind = kind
        self.refused = refused
        self._decode = msgspec.json.Decoder(kind).decode

    def __call__(self, body: bytes) -> _T:
        """The typed request.

        Raises:
            BadRequest: it is no JSON, or has a field of the wrong type, which is named.
            UnsupportedField: it asks for something known that cannot be had.
        """
        try:
            found = self._decode(body)
        except msgspec.ValidationError as error:
            raise bad_field(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = self._leniently(body)
        refuse(found, self.refused)
        return found

    def _leniently(self, body: bytes) -> _T:
        value = gojson.decode(body)
        try:
            return msgspec.convert(value, self.kind)
        except msgspec.ValidationError as error:
            raise bad_field(error) from None
        except RecursionError:
            raise BadRequest("exceeded max depth") from None


def refuse(request: msgspec.Struct, refused: Refusals, path: str = "") -> None:
    """Refuse by name what ``request`` asks for in vain.

    Raises:
        UnsupportedField: the first such field.
    """
    for name, harmless in refused.items():
        value = getattr(request, name)
        if value is not None and value not in harmless:
            raise UnsupportedField(path + name)


def bad_field(error: msgspec.ValidationError) -> BadField:
    """The error for a value of the wrong type, its place told apart."""
    text = str(error).replace("`object`", "an object").replace("`", "")
    place = _PLACE.search(str(error))
    path = place["path"] if place else ""
    if missing := _MISSING.search(str(error)):
        path = f"{path}.{missing[1]}" if path else missing[1]
    return BadField(path.replace("[...]", ".*"), text.replace("$.", ""))
