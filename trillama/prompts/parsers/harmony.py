"""gpt-oss: an answer of several messages in channels (OpenAI's harmony format).

    <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…<|return|>
    <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>

The prompt ends with ``<|start|>assistant``, so an answer begins within a header. Analysis is
reasoning, commentary and final are content, and a message with a recipient is a call. Text that
comes without any header is content.
"""

from __future__ import annotations

import re

from trillama.base.messages import ToolCall, ToolFunction
from trillama.base.turns import Piece

from .contract import AnswerParser, Malformed, Tools
from .envelope import Envelope
from .family import Family
from .json_text import call
from .marks import Marks

_START, _MESSAGE, _CHANNEL, _CONSTRAIN = "<|start|>", "<|message|>", "<|channel|>", "<|constrain|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_HEADER = 400
"""Characters a header may have; what is longer is no header."""
_CHANNEL_NAME = re.compile(r"<\|channel\|>\s*([^\s<]*)")
_RECIPIENT = re.compile(r"(?:^|\s|>)to=([^\s<]+)")


class HarmonyParser:
    """See ``AnswerParser``.

    Args:
        prompt: may end inside a message that is to be continued.
    """

    def __init__(self, tools: Tools, prompt: str = "") -> None:
        self.malformed = False
        self._tools = tools
        self._ends = Marks([*_ENDS, _START])
        self._held = ""
        self._in_header = True
        self._channel = ""
        self._recipient = ""
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._calls: list[ToolCall] = []
        self._count = 0
        self._continue(prompt.rpartition(_START)[2])

    def _continue(self, begun: str) -> None:
        header, opened, _ = begun.partition(_MESSAGE)
        if opened and not any(end in begun for end in _ENDS):
            channel = _CHANNEL_NAME.search(header)
            self._channel = channel[1] if channel else ""
            self._in_header = False

    def push(self, text: str) -> Piece:
        """See ``AnswerParser``."""
        self._held += text
        while self._header() if self._in_header else self._body():
            pass
        return self._taken()

    def finish(self) -> Piece:
        """See ``AnswerParser``."""
        rest, self._held = self._held, ""
        if not self._in_header:
            self._say(rest, whole=True)
        elif _CHANNEL not in rest and _START not in rest:
            self._content.append(rest if rest.strip() != "assistant" else "")
        return self._taken()

    def _taken(self) -> Piece:
        said = Piece("".join(self._content), "".join(self._thinking), tuple(self._calls))
        self._content, self._thinking, self._calls = [], [], []
        return said

    def _header(self) -> bool:
        at = self._held.find(_MESSAGE, 0, _HEADER)
        if at >= 0:
            header, self._held = self._held[:at], self._held[at + len(_MESSAGE) :]
            channel, recipient = _CHANNEL_NAME.search(header), _RECIPIENT.search(header)
            self._channel = channel[1] if channel else self._channel
            self._recipient = recipient[1] if recipient else ""
        elif len(self._held) >= _HEADER:
            self._channel = self._recipient = ""
        else:
            return False
        self._in_header = False
        return True

    def _body(self) -> bool:
        if found := self._ends.search(self._held):
            body, self._held = self._held[: found.start()], self._held[found.end() :]
            self._say(body, whole=True)
            self._in_header = True
            return True
        if not self._calling:
            safe = len(self._held) - self._ends.partial(self._held)
            shown, self._held = self._held[:safe], self._held[safe:]
            self._say(shown, whole=False)
        return False

    @property
    def _calling(self) -> bool:
        return self._recipient not in ("", "assistant", "user", "all") and self._channel != "final"

    def _say(self, text: str, *, whole: bool) -> None:
        if self._calling and whole:
            self._call(text)
        elif self._channel == "analysis":
            self._thinking.append(text)
        else:
            self._content.append(text)

    def _call(self, text: str) -> None:
        if not self._tools:
            self._content.append(text)
            return
        try:
            found = call(self._recipient.removeprefix("functions."), text)
        except Malformed:
            self.malformed = True
            self._content.append(text)
            return
        function = ToolFunction(found.function.name, found.function.arguments, self._count)
        self._calls.append(ToolCall(function))
        self._count += 1


def channels(*, think: bool) -> tuple[str, str, str]:
    """What opens and closes an answer's reasoning, and what its content begins with."""
    final = f"{_CHANNEL}final{_MESSAGE}"
    analysis = f"{_CHANNEL}analysis{_MESSAGE}" if think else ""
    return analysis, f"<|end|>{_START}assistant{final}", final


def _parser(tools: Tools, prompt: str) -> AnswerParser:
    return HarmonyParser(tools, prompt)


HARMONY = Family(
    "harmony",
    always=True,
    other=_parser,
    others_marks=(_START, _MESSAGE, _CHANNEL, _CONSTRAIN, *_ENDS),
    envelopes=(
        Envelope(
            f"{_CHANNEL}commentary to=functions.{{name}} {_CONSTRAIN}json{_MESSAGE}",
            joint=None,
            thought=(f"{_CHANNEL}analysis{_MESSAGE}", f"<|end|>{_START}assistant"),
        ),
    ),
)
