"""Granite 3: ``<|tool_call|>`` and a JSON array; and others with one mark before JSON.

Granite 4 writes as Hermes does. Nemotron Nano v2 has ``<TOOLCALL>[…]</TOOLCALL>``, GigaChat 3.1
``<|function_call|>{…}``, Firefunction
``functools[…]``, Apriel and MiniMax M1 ``<tool_calls>…</tool_calls>``, Apertus
``<|tools_prefix|>[{NAME: {…}}]<|tools_suffix|>``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from trillama.base.messages import ToolCall

from .contract import Malformed, Tools
from .envelope import Envelope, json_calls
from .family import Family
from .json_text import call, calls, load
from .sections import Form, JsonThen, Until


def _read(text: str, tools: Tools, close: str = "") -> Iterator[ToolCall]:
    return calls(load(text.strip().removesuffix(close)))


def json_form(mark: str, close: str = "") -> Form:
    """JSON behind a mark; the closing one may be missing."""
    return Form(mark, functools.partial(JsonThen, close), functools.partial(_read, close=close))


def _read_lines(text: str, tools: Tools) -> Iterator[ToolCall]:
    """An array, or an object a line."""
    body = text.strip().removesuffix("</tool_calls>").strip()
    lines = [body] if body.startswith("[") else body.splitlines()
    if not body:
        raise Malformed
    for line in lines:
        yield from calls(load(line))


def _read_apertus(text: str, tools: Tools) -> Iterator[ToolCall]:
    for one in load(text.strip().removesuffix("<|tools_suffix|>")):
        if not isinstance(one, dict) or len(one) != 1:
            raise Malformed
        yield from (call(name, arguments) for name, arguments in one.items())


GRANITE = Family(
    "granite",
    (json_form("<|tool_call|>"), json_form("<tool_call>", "</tool_call>")),
    envelopes=(json_calls("<|tool_call|>[", "]"),),
    others_marks=("</tool_call>",),
)
GIGACHAT = Family(
    "gigachat",
    (json_form("<|function_call|>"),),
    envelopes=(json_calls("<|function_call|>", joint=None),),
)
NEMOTRON = Family(
    "nemotron",
    (json_form("<TOOLCALL>", "</TOOLCALL>"),),
    envelopes=(json_calls("<TOOLCALL>[", "]</TOOLCALL>"),),
    others_marks=("</TOOLCALL>",),
)
FIREFUNCTION = Family(
    "firefunction", (json_form("functools"),), envelopes=(json_calls("functools[", "]"),)
)
TOOL_CALLS = Family(
    "tool-calls",
    (Form("<tool_calls>", lambda: Until("</tool_calls>"), _read_lines),),
    envelopes=(json_calls("<tool_calls>[", "]</tool_calls>"),),
    others_marks=("</tool_calls>",),
)
APERTUS = Family(
    "apertus",
    (Form("<|tools_prefix|>", functools.partial(JsonThen, "<|tools_suffix|>"), _read_apertus),),
    others_marks=("<|tools_suffix|>",),
    envelopes=(Envelope('{"{name}": ', "}", ", ", "<|tools_prefix|>[", "]<|tools_suffix|>"),),
)
