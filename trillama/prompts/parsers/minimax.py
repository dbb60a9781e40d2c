"""MiniMax M2 and MiniCPM 5: elements with names, whose types the schema tells.

<minimax:tool_call><invoke name="f"><parameter name="k">v</parameter></invoke></minimax:tool_call>
<function name="f"><param name="k"><![CDATA[v]]></param></function>
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from trillama.base.messages import ToolCall

from .contract import Malformed, Tools
from .envelope import Envelope
from .family import Family
from .json_text import call
from .scan import Scan
from .sections import Form, Until
from .typed import typed

_CLOSE = "</minimax:tool_call>"
_QUOTED = re.compile(r"""\s*name\s*=\s*["']?([^"'>]*)["']?\s*""")


def _name(attributes: str) -> str:
    found = _QUOTED.fullmatch(attributes)
    if not found:
        raise Malformed
    return found[1]


def _elements(text: str, tools: Tools, outer: str, inner: str) -> Iterator[ToolCall]:
    """All ``<outer name="NAME"><inner name="KEY">VALUE</inner></outer>`` in ``text``."""
    scan = Scan(text)
    if scan.at_end():
        raise Malformed
    while not scan.at_end():
        scan.expect(f"<{outer}")
        name = _name(scan.until(">"))
        arguments: dict[str, Any] = {}
        while not scan.take(f"</{outer}>"):
            scan.expect(f"<{inner}")
            key = _name(scan.until(">"))
            value = scan.value_until(f"</{inner}>", f"<{inner}", f"</{outer}>")
            if value.startswith("<![CDATA[") and value.endswith("]]>"):
                value = value[9:-3]
            arguments[key] = typed(value, tools, name, key)
        yield call(name, arguments)


def _read(text: str, tools: Tools) -> Iterator[ToolCall]:
    return _elements(text.strip().removesuffix(_CLOSE), tools, "invoke", "parameter")


def _read_minicpm(text: str, tools: Tools) -> Iterator[ToolCall]:
    return _elements(f"<function name={text}", tools, "function", "param")


MINIMAX = Family(
    "minimax",
    (Form("<minimax:tool_call>", lambda: Until(_CLOSE), _read),),
    interrupts=True,
    others_marks=(_CLOSE,),
    envelopes=(
        Envelope(
            '<invoke name="{name}">\n',
            "</invoke>\n",
            lead="<minimax:tool_call>\n",
            trail=_CLOSE,
            key='<parameter name="{key}">',
            value_end="</parameter>\n",
        ),
    ),
)
MINICPM = Family("minicpm", (Form("<function name=", lambda: Until("</function>"), _read_minicpm),))
