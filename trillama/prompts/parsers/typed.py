"""Values of calls that are written as text between tags: their types come from the schema.

The order of attempts is Ollama's (model/parsers/qwen3coder.go): null, boolean, integer, number,
array, object, else the text itself; a parameter without a declared type is text.
"""

from __future__ import annotations

import math
import re
from typing import Any

from .contract import Malformed, Tools
from .json_text import load

_INTEGER = re.compile(r"[-+]?\d{1,19}")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")
_KINDS = (("array", list), ("object", dict))


def typed(text: str, tools: Tools, function: str, parameter: str) -> Any:
    """The value that ``text`` spells for a parameter."""
    text = text.removeprefix("\n").removesuffix("\n")
    types = tools.types(function, parameter)
    plain = text.strip()
    if plain.lower() == "null":
        return None
    if "boolean" in types and plain.lower() in ("true", "false"):
        return plain.lower() == "true"
    if "integer" in types and _INTEGER.fullmatch(plain):
        return int(plain)
    if "number" in types and _NUMBER.fullmatch(plain) and math.isfinite(float(plain)):
        return _number(plain)
    for name, kind in _KINDS:
        if name in types and isinstance(found := _json(plain), kind):
            return found
    return text


def _number(text: str) -> int | float:
    found = float(text)
    return int(found) if found.is_integer() else found


def _json(text: str) -> Any:
    try:
        return load(text)
    except Malformed:
        return None
