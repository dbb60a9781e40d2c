"""The native dialect's words for what an answer must look like, as a ``Constraint``.

``format`` is Ollama's: ``"json"`` or a JSON schema. ``grammar`` and ``regex`` are ours and stand
among the options, where every client library lets them through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..base.constraints import Constraint, ConstraintKind
from ..base.errors import BadRequest
from .goquote import quote

_OWN = {"grammar": ConstraintKind.GBNF, "regex": ConstraintKind.REGEX}


def constraint(wanted: Any, options: Mapping[str, Any]) -> tuple[Constraint | None, dict[str, Any]]:
    """The rule of a request, and its options without it.

    Args:
        wanted: the value of ``format``.

    Raises:
        BadRequest: a value that is none, or more than one rule.
    """
    rest = dict(options)
    found = {"format": _format(wanted)}
    for name, kind in _OWN.items():
        source = rest.pop(name, None)
        if source is not None and not isinstance(source, str):
            raise BadRequest(f'option "{name}" must be of type string')
        found[name] = Constraint(kind, source) if source else None
    rules = [(name, rule) for name, rule in found.items() if rule is not None]
    if len(rules) > 1:
        raise BadRequest(f"{' and '.join(name for name, _ in rules)} exclude each other")
    return (rules[0][1] if rules else None), rest


def _format(wanted: Any) -> Constraint | None:
    if wanted is None or wanted == "":
        return None
    if wanted == "json":
        return Constraint(ConstraintKind.JSON)
    raw = msgspec.json.encode(wanted).decode()
    if not isinstance(wanted, dict):
        raise BadRequest(
            f'invalid format: {quote(raw)}; expected "json" or a valid JSON Schema object'
        )
    return Constraint(ConstraintKind.SCHEMA, raw)
