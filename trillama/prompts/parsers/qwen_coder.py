"""Qwen3-Coder and Qwen 3.5, Nemotron 3, Step, Seed-OSS: functions and parameters as tags.

    <tool_call>
    <function=NAME>
    <parameter=KEY>
    VALUE
    </parameter>
    </function>
    </tool_call>

The models now and then leave out ``<tool_call>``, or write JSON into it as their elders did.
"""

from __future__ import annotations

from collections.abc import Iterator

from trillama.base.messages import ToolCall

from .contract import Malformed, Tools
from .envelope import Envelope
from .family import Family
from .hermes import CLOSE
from .hermes import read as read_json
from .json_text import call
from .scan import Scan
from .sections import Either, End, Form, JsonThen, Until, UntilThen
from .typed import typed

_FUNCTION, _PARAMETER = "<function=", "<parameter="
_END_FUNCTION, _END_PARAMETER = "</function>", "</parameter>"


def _end() -> End:
    tagged = Until(CLOSE)
    return Either({"{": JsonThen(CLOSE), "[": JsonThen(CLOSE), _FUNCTION: tagged})


def read(text: str, tools: Tools) -> Iterator[ToolCall]:
    """Functions between the marks, or JSON."""
    if text.lstrip().startswith(("{", "[")):
        return read_json(text, tools)
    return functions(text.strip().removesuffix(CLOSE), tools)


def _read_bare(text: str, tools: Tools) -> Iterator[ToolCall]:
    return functions(_FUNCTION + text.strip().removesuffix(CLOSE), tools)


def functions(text: str, tools: Tools) -> Iterator[ToolCall]:
    """All functions in ``text``.

    Raises:
        Malformed: there is anything else, or none.
    """
    scan = Scan(text)
    if scan.at_end():
        raise Malformed
    while not scan.at_end():
        scan.expect(_FUNCTION)
        yield _function(scan, tools)


def _function(scan: Scan, tools: Tools) -> ToolCall:
    name = scan.until(">").strip().strip("\"'")
    arguments = {}
    while not scan.take(_END_FUNCTION):
        scan.expect(_PARAMETER)
        key = scan.until(">").strip().strip("\"'")
        value = scan.value_until(_END_PARAMETER, _PARAMETER, _END_FUNCTION)
        arguments[key] = typed(value, tools, name, key)
    return call(name, arguments)


BARE = Form(_FUNCTION, lambda: UntilThen(_END_FUNCTION, CLOSE), _read_bare)
QWEN_CODER = Family(
    "qwen3-coder",
    (Form("<tool_call>", _end, read), BARE),
    interrupts=True,
    others_marks=(CLOSE,),
    envelopes=(
        Envelope(
            "<tool_call>\n<function={name}>\n",
            f"{_END_FUNCTION}\n{CLOSE}",
            joint="\n",
            key="<parameter={key}>\n",
            value_end=f"\n{_END_PARAMETER}\n",
        ),
    ),
)


def _read_seed(text: str, tools: Tools) -> Iterator[ToolCall]:
    return functions(text.strip().removesuffix("</seed:tool_call>"), tools)


SEED = Family(
    "seed",
    (Form("<seed:tool_call>", lambda: Until("</seed:tool_call>"), _read_seed), BARE),
    others_marks=("</seed:tool_call>",),
    envelopes=(
        Envelope(
            "<seed:tool_call>\n<function={name}>\n",
            f"{_END_FUNCTION}\n</seed:tool_call>",
            joint="\n",
            key="<parameter={key}>",
            value_end=f"{_END_PARAMETER}\n",
        ),
    ),
)
