"""Gemma's function calling: ``call:NAME{key:value,…}`` between marks.

    <start_function_call>call:f{city:<escape>Zürich<escape>,days:3}<end_function_call>
    <|tool_call>call:f{city:<|"|>Zürich<|"|>,days:3}<tool_call|>

The first is FunctionGemma's, the second Gemma 4's.

Gemma 4 reasons in a channel of its own, which ``detect`` knows as thinking tags.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from trillama.base.messages import ToolCall

from .contract import Malformed, Tools
from .family import Family
from .json_text import call
from .literal import Literals
from .sections import Form, Until

_NAME = re.compile(r"[^\s{}:]+")


def _read(text: str, tools: Tools, close: str, quote: str) -> Iterator[ToolCall]:
    scan = Literals(text.strip().removesuffix(close), quote, bare=True)
    if scan.at_end():
        raise Malformed
    while not scan.at_end():
        scan.expect("call:")
        name = scan.match(_NAME)
        scan.expect("{")
        yield call(name, scan.members("}"))


def _family(name: str, mark: str, close: str, quote: str) -> Family:
    read = functools.partial(_read, close=close, quote=quote)
    form = Form(mark, functools.partial(Until, close), read)
    return Family(name, (form,), others_marks=(close, quote), interrupts=True)


FUNCTION_GEMMA = _family(
    "functiongemma", "<start_function_call>", "<end_function_call>", "<escape>"
)
GEMMA4 = _family("gemma4", "<|tool_call>", "<tool_call|>", '<|"|>')
