"""Kimi K2: a section of calls whose ids name their functions; and Solar, which is much alike.

    <|tool_calls_section_begin|><|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{…}
    <|tool_call_end|><|tool_calls_section_end|>
    <|tool_call:begin|>ID<|tool_call:name|>NAME<|tool_call:args|>{…}<|tool_call:end|>   (Solar)

The ids are kept: the templates write them again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from trillama.base.messages import ToolCall

from .contract import Malformed, Tools
from .envelope import Envelope
from .family import Family, Ids
from .json_text import call, load_object
from .scan import Scan
from .sections import Form, Until

_BEGIN, _END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_CALL, _ARGUMENTS, _CALL_END = (
    "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>",
)  # fmt: skip
_ID = re.compile(r"(?:functions\.)?(.+?)(?::\d+)?", re.DOTALL)


def _read(text: str, tools: Tools) -> Iterator[ToolCall]:
    scan = Scan(text.strip().removesuffix(_END))
    if scan.at_end():
        raise Malformed
    while not scan.at_end():
        scan.expect(_CALL)
        id_ = scan.until(_ARGUMENTS).strip()
        arguments = load_object(scan.until(_CALL_END))
        named = _ID.fullmatch(id_)
        yield call(named[1] if named else "", arguments, id_)


KIMI = Family(
    "kimi",
    (Form(_BEGIN, lambda: Until(_END), _read),),
    interrupts=True,
    others_marks=(_END, _CALL, _ARGUMENTS, _CALL_END),
    ids=Ids.NAMED,
    envelopes=(
        Envelope(
            f"{_CALL}functions.{{name}}:{{at}}{_ARGUMENTS}", _CALL_END, lead=_BEGIN, trail=_END
        ),
    ),
)

_SOLAR, _SOLAR_NAME, _SOLAR_ARGUMENTS, _SOLAR_END = (
    "<|tool_call:begin|>", "<|tool_call:name|>", "<|tool_call:args|>", "<|tool_call:end|>",
)  # fmt: skip


def _read_solar(text: str, tools: Tools) -> Iterator[ToolCall]:
    scan = Scan(text)
    id_ = scan.until(_SOLAR_NAME).strip()
    name = scan.until(_SOLAR_ARGUMENTS)
    yield call(name, load_object(scan.until(_SOLAR_END)), id_)


SOLAR = Family(
    "solar",
    (Form(_SOLAR, lambda: Until(_SOLAR_END), _read_solar),),
    silent=("<|tool_calls|>",),
    others_marks=(_SOLAR_NAME, _SOLAR_ARGUMENTS, _SOLAR_END),
    envelopes=(
        Envelope(f"{_SOLAR}call_{{at}}{_SOLAR_NAME}{{name}}{_SOLAR_ARGUMENTS}", _SOLAR_END),
    ),
)
