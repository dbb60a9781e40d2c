"""From tokens to text that is safe to show, one answer at a time.

The runner owns one ``TextStream`` per answer and pushes every generated token. It joins the bytes
of a character that is split over tokens and holds back only what may still become a stop string.
It knows nothing of requests, threads or time.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol


class Pieces(Protocol):
    """What a stream needs of a vocabulary."""

    @property
    def pieces(self) -> Sequence[bytes]:
        """Bytes of every token as shown in an answer."""
        ...

    @property
    def controls(self) -> Mapping[str, int]:
        """Tokens that an answer does not show, by their text."""
        ...


class _Node:
    """A state of the Aho-Corasick automaton: the longest beginning of a stop string just read.

    Attributes:
        depth: its length.
        shorter: the state of its longest proper suffix that begins a stop string.
        found: length of the longest stop string that ends here, 0 if none does.
    """

    __slots__ = ("children", "depth", "found", "shorter")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.children: dict[str, _Node] = {}
        self.shorter: _Node | None = None
        self.found = 0

    def after(self, letter: str) -> _Node:
        """The state once ``letter`` was read too."""
        node = self
        while letter not in node.children:
            if node.shorter is None:
                return node
            node = node.shorter
        return node.children[letter]


@lru_cache(maxsize=32)
def _automaton(stop: tuple[str, ...]) -> _Node:
    root = _Node(0)
    for word in stop:
        node = root
        for letter in word:
            if letter not in node.children:
                node.children[letter] = _Node(node.depth + 1)
            node = node.children[letter]
        node.found = len(word)
    level = list(root.children.values())
    for node in level:
        node.shorter = root
    for parent in level:
        for letter, node in parent.children.items():
            node.shorter = parent.shorter.after(letter) if parent.shorter else root
            node.found = node.found or node.shorter.found
            level.append(node)
    return root


class TextStream:
    """Text of one answer, cut before the first stop string.

    The stop string that is completed first ends the text; of several completed by the same
    character the longest one counts. The result does not depend on how the text was split into
    tokens. A stop string is looked for in the answer alone, never in the prompt. One that spells a
    control token, which has no text, ends the answer at that token.

    Args:
        vocabulary: whose ``pieces`` the tokens are.
        stop: stop strings; empty ones are ignored.
        shown: control tokens to spell out. No stop string is found in them or across them.

    Attributes:
        stopped: a stop string was completed. The text before it has been returned, the rest is
            dropped.
        stop: that stop string, "" before.
        held: what is held back because a stop string may begin with it.
    """

    __slots__ = (
        "_controls",
        "_decode",
        "_pieces",
        "_root",
        "_shown",
        "_state",
        "held",
        "stop",
        "stopped",
    )

    def __init__(
        self,
        vocabulary: Pieces,
        stop: tuple[str, ...] = (),
        shown: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        self.stopped = False
        self.stop = ""
        self._shown = shown
        self._pieces = vocabulary.pieces
        found = ((vocabulary.controls.get(word), word) for word in stop)
        self._controls = {token: word for token, word in found if token is not None}
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._root = _automaton(tuple(word for word in stop if word))
        self._state = self._root
        self.held = ""

    def push(self, token: int) -> str:
        """Text that is safe to show now that ``token`` is known; "" after the stop."""
        if token in self._controls:
            return self._end_at(self._controls[token])
        if token in self._shown:
            return self._spell(self._shown[token])
        return self._advance(self._decode(self._pieces[token]))

    def _end_at(self, control: str) -> str:
        """Stop at a control token; what was held back is text after all."""
        text = self.finish()
        if not self.stopped:
            self.stopped, self.stop = True, control
        return text

    def finish(self) -> str:
        """What was held back; broken bytes at the end become U+FFFD. Call it once, at the end."""
        text = self._advance(self._decode(b"", True))
        if self.stopped:
            return text
        held, self.held, self._state = self.held, "", self._root
        return text + held

    def _spell(self, mark: str) -> str:
        before = self._advance(self._decode(b"", True))
        if self.stopped:
            return before
        held, self.held, self._state = self.held, "", self._root
        return before + held + mark

    def _advance(self, text: str) -> str:
        if self.stopped:
            return ""
        state = self._state
        if state is self._root and state.children.keys().isdisjoint(text):
            return text
        pending = self.held + text
        for at, letter in enumerate(text, len(self.held) + 1):
            state = state.after(letter)
            if state.found:
                self.stopped = True
                self.stop = pending[at - state.found : at]
                self._state, self.held = self._root, ""
                return pending[: at - state.found]
        self._state = state
        safe = len(pending) - state.depth
        self.held = pending[safe:]
        return pending[:safe]
