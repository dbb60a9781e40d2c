"""Llama 3.1 to 3.3: the whole answer is ``{"name": …, "parameters": {…}}``.

The models separate several calls by ``;``. Built-in tools come behind ``<|python_tag|>``, as JSON
or as ``NAME.call(query="…")``; other text there is a program for the tool that runs Python. Fact:
Meta's prompt formats of Llama 3.1 and 3.2. Functionary 3.1 adds ``<function=NAME>{…}</function>``.
"""

from __future__ import annotations

from collections.abc import Iterator

from trillama.base.messages import ToolCall

from .contract import Malformed, Tools
from .envelope import Envelope
from .family import Family
from .generic import BARE
from .json_text import call, calls, load, load_object
from .literal import Literals
from .sections import End, Form, JsonThen, UntilThen, skip

_PYTHON = ("python", "ipython", "code_interpreter")


class _Tagged:
    """JSON to its end, a program to the end of the answer."""

    def __init__(self) -> None:
        self._json: End = JsonThen()

    def find(self, text: str, start: int) -> int | None:
        """See ``End``."""
        return self._json.find(text, start) if text[skip(text, start) :][:1] == "{" else None


def _read_tagged(text: str, tools: Tools) -> Iterator[ToolCall]:
    body = text.strip()
    if body.startswith("{"):
        yield from calls(load(body))
        return
    if ".call(" in body.partition("\n")[0]:
        for one in Literals(body).calls():
            yield call(one.function.name.removesuffix(".call"), one.function.arguments)
        return
    name = next((name for name in _PYTHON if name in tools.names), None)
    if name is None or not body:
        raise Malformed
    yield call(name, {"code": body})


def _read_function(text: str, tools: Tools) -> Iterator[ToolCall]:
    name, _, rest = text.partition(">")
    yield call(name, load_object(rest.strip().removesuffix("</function>")))


PYTHON_TAG = Form("<|python_tag|>", _Tagged, _read_tagged)
_FUNCTION = Form("<function=", lambda: UntilThen("</function>", ""), _read_function)
LLAMA3 = Family(
    "llama3",
    (*BARE, PYTHON_TAG, _FUNCTION),
    between=";",
    envelopes=(Envelope('{"name": "{name}", "parameters": ', "}", joint="; "),),
)
FUNCTIONARY = Family(
    "functionary",
    (_FUNCTION, PYTHON_TAG),
    envelopes=(Envelope("<function={name}>", "</function>", joint="\n"),),
)
