"""DeepSeek: calls between marks of their own, as JSON or, from V3.2 on, as tags.

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME      (V3, R1)
```json
{…}
```<｜tool▁call▁end｜><｜tool▁calls▁end｜>
<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}<｜tool▁call▁end｜>…     (V3.1)
<｜DSML｜function_calls><｜DSML｜invoke name="NAME">                              (V3.2, V4)
<｜DSML｜parameter name="KEY" string="true">TEXT</｜DSML｜parameter></｜DSML｜invoke>…
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from trillama.base.messages import ToolCall

from .contract import Malformed, Tools
from .envelope import Envelope
from .family import Family
from .json_text import call, load, load_object
from .scan import Scan
from .sections import Form, Until

_ALL, _ALL_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _CALL_END, _SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
_FENCED = re.compile(r"\s*```(?:json)?\s*(.*?)\s*(?:```)?\s*", re.DOTALL)
_ATTRIBUTE = re.compile(r'(name|string)="([^"]*)"')


def _read(text: str, tools: Tools) -> Iterator[ToolCall]:
    bodies = [body for body in text.removesuffix(_ALL_END).split(_CALL) if body.strip()]
    if not bodies:
        raise Malformed
    for body in bodies:
        head, separator, rest = body.strip().removesuffix(_CALL_END).partition(_SEPARATOR)
        if not separator:
            raise Malformed
        if not rest.lstrip().startswith(("{", "```")):
            head, _, rest = rest.strip().partition("\n")
        fenced = _FENCED.fullmatch(rest)
        rest = fenced[1] if fenced else rest.strip()
        if not rest.startswith("{"):
            raise Malformed
        yield call(head, load_object(rest))


def _read_one(text: str, tools: Tools) -> Iterator[ToolCall]:
    return _read(_CALL + text, tools)


def _tagged(scan: Scan, prefix: str) -> Iterator[ToolCall]:
    """``invoke`` elements with ``parameter`` elements, to the end."""
    if scan.at_end():
        raise Malformed
    while not scan.at_end():
        scan.expect(f"<{prefix}invoke")
        name = dict(_ATTRIBUTE.findall(scan.until(">"))).get("name")
        arguments: dict[str, Any] = {}
        while not scan.take(f"</{prefix}invoke>"):
            scan.expect(f"<{prefix}parameter")
            attributes = dict(_ATTRIBUTE.findall(scan.until(">")))
            value = scan.value_until(
                f"</{prefix}parameter>", f"<{prefix}parameter", f"</{prefix}invoke>"
            )
            plain = attributes.get("string", "true") == "true"
            arguments[attributes.get("name", "")] = value if plain else load(value)
        yield call(name, arguments)


def _dsml(word: str) -> Form:
    close = f"</｜DSML｜{word}>"

    def read(text: str, tools: Tools) -> Iterator[ToolCall]:
        return _tagged(Scan(text.strip().removesuffix(close)), "｜DSML｜")

    return Form(f"<｜DSML｜{word}>", lambda: Until(close), read)


DEEPSEEK = Family(
    "deepseek",
    (Form(_ALL, lambda: Until(_ALL_END), _read), Form(_CALL, lambda: Until(_CALL_END), _read_one)),
    others_marks=(_ALL_END, _CALL_END, _SEPARATOR),
    interrupts=True,
    envelopes=(
        Envelope(f"{_CALL}{{name}}{_SEPARATOR}", _CALL_END, lead=_ALL, trail=_ALL_END),
        Envelope(
            f"{_CALL}function{_SEPARATOR}{{name}}\n```json\n",
            f"\n```{_CALL_END}",
            joint="\n",
            lead=_ALL,
            trail=_ALL_END,
        ),
    ),
)
DEEPSEEK_DSML = Family(
    "deepseek-dsml",
    (_dsml("function_calls"), _dsml("tool_calls")),
    others_marks=("｜DSML｜",),
)
