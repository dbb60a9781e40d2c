"""Any model whose template shows what a call begins with: a tag, then JSON.

For Go templates, from whose branch on ``.ToolCalls`` the tag is inferred (Ollama's
tools/template.go), and for Jinja templates that no other family knows. A tag that is JSON itself
(``{``, ``[``) counts only as the first thing said, and only where a tool that was offered is named:
JSON is a likely answer too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from trillama.base.messages import ToolCall

from .contract import Malformed, NoCall, Tools
from .envelope import Envelope, json_calls
from .family import Family
from .json_text import JsonEnd, call, calls, load
from .sections import Form, JsonThen, behind, skip

_PLAIN_TAG = re.compile(r"(<|\[)([\w|-]+)(>|\])")
_FENCE = re.compile(r"\s*```(?:json)?\s*$")
_HEAD = 200
"""Characters that may stand between a tag and the JSON: the name of the tool and a fence."""
_BEGUN = re.compile(r'\s*\[?\s*\{\s*"(?:type|name|function|id)"')
_JSON = re.compile(r"[{\[]")


class HeadJsonThen:
    """Ends with the first JSON object or array and a closing mark; a few words may stand before."""

    def __init__(self, close: str = "") -> None:
        self._close = close
        self._json = JsonEnd()
        self._ended: int | None = None

    def find(self, text: str, start: int) -> int | None:
        """See ``End``."""
        found = _JSON.search(text, start, start + _HEAD)
        if found is None:
            return start if len(text) >= start + _HEAD else None
        if self._ended is None:
            self._ended = self._json.find(text, found.start())
        return None if self._ended is None else behind(text, self._ended, self._close)


def closing(tag: str) -> str:
    """What closes ``tag``: ``</x>`` for ``<x>``, ``[/X]`` for ``[X]``, a fence for a fence."""
    if tag.startswith("```"):
        return "```"
    found = _PLAIN_TAG.fullmatch(tag)
    return f"{found[1]}/{found[2]}{found[3]}" if found else ""


def read(text: str, tools: Tools, close: str = "") -> Iterator[ToolCall]:
    """Calls of JSON that names them, or of JSON behind a name."""
    body = text.strip().removesuffix(close) if close else text
    at = min((body.find(mark) for mark in "{[" if mark in body), default=-1)
    if at < 0:
        raise Malformed
    head, value = _FENCE.sub("", body[:at]).strip(), load(body[at:])
    if not head:
        return calls(value)
    return iter([call(head.split()[-1], value)])


def read_bare(text: str, tools: Tools) -> Iterator[ToolCall]:
    """Calls of JSON without a mark; it has to name tools that were offered."""
    try:
        found = list(calls(load(text.strip().removesuffix("```"))))
    except Malformed:
        named = _BEGUN.match(text) and any(f'"{name}"' in text for name in tools.names)
        raise Malformed if named else NoCall from None
    if not found or any(one.function.name not in tools.names for one in found):
        raise NoCall
    return iter(found)


def _bare(mark: str) -> Form:
    return Form(mark, JsonAtMark, read_bare, first=True)


class JsonAtMark(JsonThen):
    """Ends with the JSON that the mark begins."""

    def find(self, text: str, start: int) -> int | None:
        """See ``End``."""
        return super().find(text, skip(text, 0))


BARE = (_bare("{"), _bare("["))


@functools.lru_cache(maxsize=64)
def generic(tag: str) -> Family:
    """The family whose calls begin with ``tag``, as the template writes it."""
    mark = tag.strip().rstrip("[{").rstrip()
    if not mark:
        return Family("generic", BARE, between=",;", envelopes=(json_calls("", joint="\n"),))
    close = closing(mark)
    form = Form(mark, functools.partial(HeadJsonThen, close), functools.partial(read, close=close))
    if tag.strip().endswith("["):
        return Family(
            f"generic {mark}", (form,), between=",;]", envelopes=(json_calls(f"{mark} [", "]"),)
        )
    end = f"}}\n{close}" if close else "}"
    envelope = Envelope(f'{mark}\n{{"name": "{{name}}", "arguments": ', end, joint="\n")
    return Family(f"generic {mark}", (form,), between=",;", envelopes=(envelope,))
