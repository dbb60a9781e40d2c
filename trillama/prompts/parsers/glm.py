"""GLM 4.5 to 4.7, and those who write alike: keys and values as tags behind a name.

    <tool_call>NAME
    <arg_key>KEY</arg_key>
    <arg_value>VALUE</arg_value>
    </tool_call>

A call without its closing tag counts if it has all that its tool requires.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trillama.base.messages import ToolCall

from .contract import Malformed, Tools
from .envelope import Envelope
from .family import Family
from .hermes import CLOSE
from .hermes import read as read_json
from .json_text import call
from .scan import Scan
from .sections import Form, Until
from .typed import typed

_KEY, _KEY_END, _VALUE, _VALUE_END = "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"


def _read(text: str, tools: Tools) -> Iterator[ToolCall]:
    body = text.strip()
    if body.startswith(("{", "[")):
        yield from read_json(body, tools)
        return
    closed = body.endswith(CLOSE)
    head, key, rest = body.removesuffix(CLOSE).partition(_KEY)
    name = head.strip()
    if not name or "\n" in name or "<" in name:
        raise Malformed
    arguments = _pairs(Scan(key + rest), tools, name)
    if not closed and not (arguments and tools.complete(name, arguments)):
        raise Malformed
    yield call(name, arguments)


def _pairs(scan: Scan, tools: Tools, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while not scan.at_end():
        scan.expect(_KEY)
        key = scan.until(_KEY_END).strip()
        scan.expect(_VALUE)
        found[key] = typed(scan.value_until(_VALUE_END, _KEY), tools, name, key)
    return found


GLM = Family(
    "glm",
    (Form("<tool_call>", lambda: Until(CLOSE), _read),),
    interrupts=True,
    others_marks=(CLOSE, _KEY, _KEY_END, _VALUE, _VALUE_END),
    envelopes=(
        Envelope(
            "<tool_call>{name}\n",
            CLOSE,
            joint="\n",
            key=f"{_KEY}{{key}}{_KEY_END}\n{_VALUE}",
            value_end=f"{_VALUE_END}\n",
        ),
    ),
)
