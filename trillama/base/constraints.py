"""What an answer must look like: a grammar in one of the forms a client may ask for."""

from __future__ import annotations

import enum

import msgspec


class ConstraintKind(enum.StrEnum):
    """The language a constraint is written in."""

    JSON = "json"
    SCHEMA = "schema"
    REGEX = "regex"
    GBNF = "gbnf"
    LARK = "lark"


class Constraint(msgspec.Struct, frozen=True):
    """A rule the answer keeps from its first token after the reasoning to its last.

    Attributes:
        source: the text of the schema (JSON), expression or grammar; "" for ``JSON``, which is any
            JSON object.
    """

    kind: ConstraintKind
    source: str = ""
