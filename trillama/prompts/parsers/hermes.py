"""Hermes and Qwen: ``<tool_call>{"name": …, "arguments": {…}}</tool_call>``, once a call.

Fact: the format of NousResearch's Hermes 2 Pro, which Qwen 2.5 and 3, Granite 4 and many others
took over. A model may forget the closing tag; the end of the JSON is the end of the call.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from trillama.base.messages import ToolCall

from .contract import Tools
from .envelope import Envelope
from .family import Family
from .json_text import calls, load
from .sections import Form, JsonThen

CLOSE = "</tool_call>"


def read(text: str, tools: Tools) -> Iterator[ToolCall]:
    """The call, or the calls of an array."""
    return calls(load(text.strip().removesuffix(CLOSE)))


FORM = Form("<tool_call>", functools.partial(JsonThen, CLOSE), read)
ENVELOPE = Envelope('<tool_call>\n{"name": "{name}", "arguments": ', f"}}\n{CLOSE}", joint="\n")
HERMES = Family("hermes", (FORM,), interrupts=True, envelopes=(ENVELOPE,), others_marks=(CLOSE,))
