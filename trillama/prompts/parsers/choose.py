"""Which family a model's answers belong to.

By the name of a built-in parser in the model's config (PARSER of a Modelfile), else by what the
text of its template shows: the marks of a family stand in the template because it writes earlier
calls with them.
"""

from __future__ import annotations

import functools
import re

from .family import Family
from .generic import generic
from .hermes import HERMES

_NAMED: dict[str, Family] = {
    "qwen3": HERMES,
    "qwen3-thinking": HERMES,
    "qwen3-vl-instruct": HERMES,
    "qwen3-vl-thinking": HERMES,
}
_SHOWN: tuple[tuple[re.Pattern[str], Family], ...] = ((re.compile(r"<tool_call>"), HERMES),)


def family_named(name: str) -> Family | None:
    """The family of a built-in parser, None for an unknown name."""
    return _NAMED.get(name)


@functools.lru_cache(maxsize=64)
def family_of_template(source: str) -> Family:
    """The family whose marks a template shows; bare JSON where it shows none."""
    return next((family for shown, family in _SHOWN if shown.search(source)), generic("{"))
