"""Random JSON schemas: what clients send, and now and then a keyword that cannot be enforced."""

from __future__ import annotations

import random
import string
from typing import Any

Schema = dict[str, Any]

PATTERNS = (r"^[a-c]{2,4}$", r"^\d{3}-\d{2}$", r"^(yes|no)( sir)?$", r"[xyz]{2}", r"^[A-Z][a-z]*$")
FORMATS = ("date", "time", "date-time", "uuid", "ipv4", "email")
UNSUPPORTED: tuple[Schema, ...] = (
    {"not": {"type": "null"}},
    {"type": "array", "uniqueItems": True},
    {"type": "array", "contains": {"type": "integer"}},
    {"if": {"type": "string"}, "then": {"minLength": 2}},
    {"type": "object", "propertyNames": {"maxLength": 3}},
    {"type": "object", "dependentRequired": {"a": ["b"]}},
    {"oneOf": [{"type": "integer"}, {"type": "number"}]},
    {"type": "object", "unevaluatedProperties": False},
    {"type": "array", "unevaluatedItems": False},
    {"type": "string", "format": "no-such-format"},
)


class Schemas:
    """A stream of schemas from one seed.

    Attributes:
        injected: the keyword of the last schema that nobody can enforce, "" if it has none.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.injected = ""

    def next(self) -> Schema:
        """An object, mostly; one in eight holds something that is not supported."""
        self.injected = ""
        rng = self._rng
        found = self._object(2) if rng.random() < 0.8 else self._any(2)
        if rng.random() < 0.125:
            bad = rng.choice(UNSUPPORTED)
            self.injected = next(key for key in reversed(bad) if key not in ("type", "then"))
            found = {
                "type": "object",
                "properties": {"inner": found, "bad": bad},
                "required": ["inner", "bad"],
            }
        if rng.random() < 0.2 and not self.injected:
            found = {"$defs": {"it": found}, "$ref": "#/$defs/it", "title": "A reference"}
        return found

    def _any(self, depth: int) -> Schema:
        rng = self._rng
        kinds = [self._string, self._number, self._choice, self._plain]
        if depth:
            kinds += [self._object, self._array, self._either]
        found = rng.choice(kinds)(depth)
        if rng.random() < 0.2:
            found = {"description": "What it is.", "examples": [1], **found}
        return found

    def _string(self, depth: int) -> Schema:
        rng = self._rng
        kind = rng.randrange(4)
        if kind == 0:
            return {"type": "string", "pattern": rng.choice(PATTERNS), "maxLength": 12}
        if kind == 1:
            return {"type": "string", "format": rng.choice(FORMATS)}
        least = rng.randrange(4)
        return {"type": "string", "minLength": least, "maxLength": least + rng.randrange(9)}

    def _number(self, depth: int) -> Schema:
        rng = self._rng
        low = rng.randrange(-50, 50)
        high = low + rng.randrange(1, 200)
        kind = rng.choice(("integer", "number"))
        edges = rng.choice((("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum")))
        found: Schema = {"type": kind, edges[0]: low, edges[1]: high + 2}
        if kind == "integer" and rng.random() < 0.3:
            found = {"type": kind, "multipleOf": rng.choice((2, 5)), "minimum": 0, "maximum": 1000}
        return found

    def _choice(self, depth: int) -> Schema:
        rng = self._rng
        values = [1, -2.5, 'é\n"x"', None, True, "red", "green", {"a": [1]}, []]
        if rng.random() < 0.4:
            return {"const": rng.choice(values)}
        return {"enum": rng.sample(values, rng.randint(1, 5))}

    def _plain(self, depth: int) -> Schema:
        return {"type": self._rng.choice(("boolean", "null", ["boolean", "null"]))}

    def _array(self, depth: int) -> Schema:
        rng = self._rng
        least = rng.randrange(3)
        found: Schema = {
            "type": "array",
            "items": self._any(depth - 1),
            "minItems": least,
            "maxItems": least + rng.randrange(3),
        }
        if rng.random() < 0.2:
            first = [self._any(depth - 1) for _ in range(2)]
            found = {"type": "array", "prefixItems": first, "items": False, "minItems": 2}
        return found

    def _either(self, depth: int) -> Schema:
        return {"anyOf": [self._any(depth - 1) for _ in range(self._rng.randint(2, 3))]}

    def _object(self, depth: int) -> Schema:
        rng = self._rng
        names = [
            "".join(rng.choices(string.ascii_lowercase, k=3)) for _ in range(rng.randint(1, 4))
        ]
        names += ['with "quotes" é'] * (rng.random() < 0.1)
        names = list(dict.fromkeys(names))
        found: Schema = {
            "type": "object",
            "properties": {name: self._any(max(depth - 1, 0)) for name in names},
            "required": [name for name in names if rng.random() < 0.7],
        }
        if rng.random() < 0.9:
            found["additionalProperties"] = False
        return found
