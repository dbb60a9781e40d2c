"""Mistral: ``[TOOL_CALLS]`` and an array of calls, or a name and its arguments.

    [TOOL_CALLS][{"name": "f", "arguments": {…}, "id": "9chars___"}]
    [TOOL_CALLS]f[ARGS]{…}[TOOL_CALLS]g[CALL_ID]9chars___[ARGS]{…}

The first form up to Mistral Nemo, the second from Mistral Small 3.1 and Devstral on. All marks are
control tokens; ids have nine letters or digits, and the templates insist on them.
"""

from __future__ import annotations

from collections.abc import Iterator

from trillama.base.messages import ToolCall

from .contract import Malformed, Tools
from .envelope import Envelope, json_calls
from .family import Family, Ids
from .json_text import JsonEnd, call, calls, load
from .sections import Form, skip

_ARGUMENTS, _ID = "[ARGS]", "[CALL_ID]"


class _End:
    """An array, or the first object behind a name."""

    def __init__(self) -> None:
        self._json = JsonEnd()

    def find(self, text: str, start: int) -> int | None:
        """See ``End``."""
        begin = skip(text, start)
        if not text.startswith("[", begin) or text.startswith((_ARGUMENTS, _ID), begin):
            begin = text.find("{", begin)
        elif text[begin:] in (_ARGUMENTS[: len(text) - begin], _ID[: len(text) - begin]):
            return None
        return None if begin in (-1, len(text)) else self._json.find(text, begin)


def _read(text: str, tools: Tools) -> Iterator[ToolCall]:
    if text.lstrip().startswith("[") and not text.lstrip().startswith((_ARGUMENTS, _ID)):
        return calls(load(text))
    head, opened, rest = text.partition("{")
    if not opened:
        raise Malformed
    name, _, id_ = head.strip().removesuffix(_ARGUMENTS).partition(_ID)
    return iter([call(name, load(opened + rest), id_.strip())])


MISTRAL = Family(
    "mistral",
    (Form("[TOOL_CALLS]", _End, _read),),
    between=",",
    others_marks=(_ARGUMENTS, _ID),
    ids=Ids.NINE,
    envelopes=(Envelope("[TOOL_CALLS]{name}[ARGS]"), json_calls("[TOOL_CALLS][", "]")),
)
