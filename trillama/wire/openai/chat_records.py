"""Records of ``/v1/chat/completions``: neutral events as chunks of a stream or as one object.

The hot path of this dialect's streams: what is the same in each chunk is encoded once. The role
stands in the first chunk of each choice, the reason in a chunk of its own, the counts, if they are
asked for, in one after all others. Reasoning has two names because clients look for either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...base.turns import Finished, Piece, TurnEvent, joined
from ..gojson import encode, encode_text
from .logprobs import chat_logprobs
from .records import ChoiceRecords, Heading, call_objects, common_fields, finish_reason


class _Choice:
    """Writes the chunks of one answer.

    Attributes:
        end: how it ended, None before.
    """

    def __init__(self, head: bytes, index: int) -> None:
        self.end: Finished | None = None
        self._head = head + b'{"index":%d,"delta":{' % index
        self._role = b'"role":"assistant",'
        self._calls = 0

    def piece(self, piece: Piece) -> bytes:
        """More of the answer."""
        role, self._role = self._role, b""
        fields: list[bytes] = []
        if piece.content or (role and not piece.thinking):
            fields.append(b'"content":' + encode_text(piece.content))
        elif role:
            fields.append(b'"content":""')
        if piece.thinking:
            text = encode_text(piece.thinking)
            fields.append(b'"reasoning":' + text + b',"reasoning_content":' + text)
        if piece.tool_calls:
            fields.append(b'"tool_calls":' + encode(call_objects(piece.tool_calls, self._calls)))
            self._calls += len(piece.tool_calls)
        logprobs = b""
        if piece.logprobs:
            logprobs = b',"logprobs":' + encode(chat_logprobs(piece.logprobs))
        said = role + b",".join(fields)
        return self._head + said + b"}" + logprobs + b',"finish_reason":null}]}\n\n'

    def finish(self, end: Finished) -> bytes:
        """The reason; an answer that said nothing says so first."""
        before = self.piece(Piece()) if self._role else b""
        self.end = end
        reason = finish_reason(end, self._calls > 0).encode()
        return before + self._head + b'},"finish_reason":"' + reason + b'"}]}\n\n'


class ChatRecords(ChoiceRecords):
    """Writes the answers to one request; see ``ChoiceRecords``."""

    def __init__(self, heading: Heading, choices: int = 1, *, includes_usage: bool = False) -> None:
        fields = common_fields(heading, "chatcmpl")
        super().__init__(fields, "chat.completion.chunk", choices, includes_usage=includes_usage)
        self._choices = [_Choice(self._opening, index) for index in range(choices)]

    def whole(self, answers: Sequence[Sequence[TurnEvent]]) -> bytes:
        """The one object of answers that are not streamed."""
        found = list(map(joined, answers))
        choices = [_whole_choice(at, said, end) for at, (said, end) in enumerate(found)]
        return self._whole("chat.completion", choices, (end for _, end in found))


def _whole_choice(index: int, said: Piece, end: Finished) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.content}
    if said.thinking:
        message |= {"reasoning": said.thinking, "reasoning_content": said.thinking}
    if said.tool_calls:
        message["content"] = said.content or None
        message["tool_calls"] = call_objects(said.tool_calls, 0)
    choice = {"index": index, "message": message}
    if said.logprobs:
        choice["logprobs"] = chat_logprobs(said.logprobs)
    return {**choice, "finish_reason": finish_reason(end, bool(said.tool_calls))}
