"""What a fake model says: scripts that choose the next token from what a sequence sees.

A script must be a function of the history alone, so that a preempted, copied or resumed sequence
goes on as if nothing had happened. The answer begins after the last ``<|im_start|>assistant\\n``;
a prompt without it carries no mark of its end, so there the scripts look for the longest beginning
of their reply that the history ends with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from .fake_cells import History
from .fake_vocab import EOS

Script: TypeAlias = Callable[[History], int]
"""From what a sequence sees to the token that follows."""

_ANSWER = b"<|im_start|>assistant\n"
_ORDER = b"Repeat: "
_LETTERS = b"abcdefghijklmnopqrstuvwxyz "


def _answer_start(history: History, after: int = 0) -> int:
    mark = history.text.rfind(_ANSWER, after)
    return after if mark < 0 else mark + len(_ANSWER)


def _continue(history: History, reply: bytes, start: int) -> int:
    done = history.matched(reply, start)
    return reply[done] if done < len(reply) else EOS


def fixed(text: str) -> Script:
    """Say ``text`` whatever was asked, then end."""
    reply = text.encode()
    return lambda history: _continue(history, reply, _answer_start(history))


def count(tokens: int) -> Script:
    """Say ``0,1,2,...`` cut to exactly ``tokens`` tokens, then end."""
    return fixed(",".join(map(str, range(tokens)))[:tokens])


def replies(table: Mapping[str, str], otherwise: str = "?") -> Script:
    """Say the reply of the key that occurs last in what is seen, then end."""
    known = {key.encode(): reply.encode() for key, reply in table.items()}
    default = otherwise.encode()

    def reply(history: History) -> int:
        at, key = max(((history.text.rfind(key), key) for key in known), default=(-1, b""))
        chosen = known[key] if at >= 0 else default
        return _continue(history, chosen, _answer_start(history, max(at, 0) + len(key)))

    return reply


def echo_canary(history: History) -> int:
    """Answer the last ``Repeat: X`` with X, then end; without one, end at once.

    X is quoted or goes to the end of its line or message. A bare X at the very end of a prompt is
    closed by a generated newline first, because nothing else tells it from its echo.
    """
    text = history.text
    order = text.rfind(_ORDER)
    if order < 0:
        return EOS
    begin = order + len(_ORDER)
    quoted = text[begin : begin + 1] == b'"'
    begin += quoted
    ends = (text.find(mark, begin) for mark in ((b'"',) if quoted else (b"\n", b"<|im_end|>")))
    end = min((at for at in ends if at >= 0), default=-1)
    if end < 0:
        return ord('"' if quoted else "\n")
    start = end + (text[end] in b'"\n')
    return _continue(history, bytes(text[begin:end]), _answer_start(history, start))


def babble(history: History) -> int:
    """Letters and blanks that depend on every cell seen; never ends."""
    return _LETTERS[history.digest % len(_LETTERS)]


def babble_for(tokens: int) -> Script:
    """Babble, and end once ``tokens`` tokens follow the last assistant mark."""

    def reply(history: History) -> int:
        spoken = len(history.text) - _answer_start(history)
        return babble(history) if spoken < tokens else EOS

    return reply
