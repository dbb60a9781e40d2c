"""Olmo 3 and LFM2: calls in the manner of Python.

<function_calls>f(a="x", b=1)
g()</function_calls>                                              (Olmo 3)
<|tool_call_start|>[f(a="x", b=1), g()]<|tool_call_end|>          (LFM2, which also writes JSON)
"""

from __future__ import annotations

from collections.abc import Iterator

from trillama.base.messages import ToolCall

from .contract import Malformed, Tools
from .envelope import json_calls
from .family import Family
from .json_text import calls, load
from .literal import Literals
from .sections import Form, Until

_OLMO_END, _LFM2_END = "</function_calls>", "<|tool_call_end|>"


def _read_olmo(text: str, tools: Tools) -> Iterator[ToolCall]:
    return _python(text.strip().removesuffix(_OLMO_END))


def _read_lfm2(text: str, tools: Tools) -> Iterator[ToolCall]:
    body = text.strip().removesuffix(_LFM2_END).strip()
    if body.startswith("{") or body[1:].lstrip().startswith("{"):
        return calls(load(body))
    return _python(body)


def _python(body: str) -> Iterator[ToolCall]:
    found = list(Literals(body).calls())
    if not found:
        raise Malformed
    return iter(found)


OLMO = Family(
    "olmo",
    (Form("<function_calls>", lambda: Until(_OLMO_END), _read_olmo),),
    others_marks=(_OLMO_END,),
)
LFM2 = Family(
    "lfm2",
    (Form("<|tool_call_start|>", lambda: Until(_LFM2_END), _read_lfm2),),
    others_marks=(_LFM2_END,),
    envelopes=(json_calls("<|tool_call_start|>[", f"]{_LFM2_END}"),),
    interrupts=True,
)
