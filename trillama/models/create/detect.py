"""Which known Go template a Jinja template in the weights stands for.

A model whose template is known gets that template as a layer, and the strings that end a turn in
it. The table of known templates belongs to ``prompts/``; until it is there nothing is known, and a
model answers by the Jinja template alone.
"""

from __future__ import annotations

import msgspec


class KnownTemplate(msgspec.Struct, frozen=True):
    """A template that goes by a name.

    Attributes:
        source: the Go template.
        stop: strings that end a turn.
    """

    name: str
    source: str
    stop: tuple[str, ...] = ()


def detect_template(chat_template: str) -> KnownTemplate | None:
    """The known template that ``chat_template`` stands for, None if none."""
    return None
