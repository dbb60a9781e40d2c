"""Command R: actions as a JSON array, between marks of its own or in a fence.

    <|START_THINKING|>…<|END_THINKING|><|START_ACTION|>[{"tool_call_id": "0", "tool_name": "f",
    "parameters": {…}}]<|END_ACTION|>                                     (R7B, Command A)
    Action: ```json
    [{"tool_name": "f", "parameters": {…}}]
    ```                                                                   (R, R+)

Its ids count from 0 in each answer, so they are not kept. ``directly-answer`` is the older models'
word for calling nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from trillama.base.messages import ToolCall

from .contract import Malformed, Tools
from .envelope import Envelope
from .family import Family
from .json_text import calls, load
from .sections import Form, JsonThen

_NOTHING = ("directly-answer", "directly_answer")
_TEXT = ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>")


def _read(text: str, tools: Tools, close: str) -> Iterator[ToolCall]:
    found = load(text.strip().removesuffix(close))
    if found == []:
        raise Malformed
    for one in calls(found, "tool_name", "parameters"):
        if one.function.name in tools.names or one.function.name not in _NOTHING:
            yield ToolCall(one.function)


def _form(mark: str, close: str) -> Form:
    return Form(mark, functools.partial(JsonThen, close), functools.partial(_read, close=close))


COMMAND_R7B = Family(
    "command-r7b",
    (_form("<|START_ACTION|>", "<|END_ACTION|>"),),
    silent=_TEXT,
    always=True,
    interrupts=True,
    others_marks=("<|END_ACTION|>",),
    envelopes=(
        Envelope(
            '    {"tool_call_id": "{at}", "tool_name": "{name}", "parameters": ',
            "}",
            ",\n",
            "<|START_ACTION|>[\n",
            "\n]<|END_ACTION|>",
        ),
    ),
)
COMMAND_R = Family(
    "command-r",
    tuple(_form(f"Action:{gap}```json", "```") for gap in ("", " ", "\n")),
    envelopes=(
        Envelope(
            '    {"tool_name": "{name}", "parameters": ',
            "}",
            ",\n",
            "Action: ```json\n[\n",
            "\n]\n```",
        ),
    ),
)
