"""Records of ``/v1/chat/completions``: neutral events as chunks of a stream or as one object.

The hot path of this dialect's streams: what is the same in each chunk is encoded once. The role
stands in the first chunk of each choice, the reason in a chunk of its own, the counts, if they are
asked for, in one after all others. Reasoning has two names because clients look for either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...base.errors import TrillamaError
from ...base.events import Usage
from ...base.turns import Chosen, Finished, Piece, TurnEvent
from .. import sse
from ..gojson import encode, encode_text
from .errors import error_event
from .logprobs import chat_logprobs
from .records import FINGERPRINT, Heading, call_objects, finish_reason, usage_object

_DONE = sse.data(b"[DONE]")


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


class ChatRecords:
    """Writes the answers to one request.

    Args:
        choices: how many there are; with one, events come as they are, else each as ``Chosen``.
        includes_usage: a stream ends with its counts.
    """

    content_type = sse.CONTENT_TYPE

    def __init__(self, heading: Heading, choices: int = 1, *, includes_usage: bool = False) -> None:
        self._heading = heading
        self._includes_usage = includes_usage
        self._opening = encode(self._object("chat.completion.chunk"))[:-1] + b',"choices":['
        self._choices = [_Choice(b"data: " + self._opening, index) for index in range(choices)]

    def begun(self, usage: Callable[[], Usage]) -> None:
        """The counts come last here."""

    def write(self, events: Sequence[TurnEvent | Chosen]) -> bytes:
        """Chunks for events that came together."""
        return b"".join([self._one(event) for event in events])

    def whole(self, answers: Sequence[tuple[Piece, Finished]]) -> bytes:
        """The one object of answers that are not streamed."""
        choices = [_whole_choice(at, said, end) for at, (said, end) in enumerate(answers)]
        usage = usage_object((end for _, end in answers), len(answers))
        return encode({**self._object("chat.completion"), "choices": choices, "usage": usage})

    def error(self, error: TrillamaError) -> bytes:
        """The event that ends a stream in trouble."""
        return error_event(error)

    def keep_alive(self) -> bytes:
        """What is sent while nothing is said."""
        return sse.COMMENT

    def _object(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._heading.id}",
            "object": kind,
            "created": self._heading.created,
            "model": self._heading.model,
            "system_fingerprint": FINGERPRINT,
        }

    def _one(self, event: TurnEvent | Chosen) -> bytes:
        if isinstance(event, Piece):
            return self._choices[0].piece(event)
        if isinstance(event, Finished):
            return self._choices[0].finish(event) + self._ending()
        choice = self._choices[event.index]
        if isinstance(event.event, Piece):
            return choice.piece(event.event)
        return choice.finish(event.event) + self._ending()

    def _ending(self) -> bytes:
        """What follows the last choice's end."""
        ends = [choice.end for choice in self._choices if choice.end is not None]
        if len(ends) < len(self._choices):
            return b""
        if not self._includes_usage:
            return _DONE
        usage = encode(usage_object(ends, len(ends)))
        return sse.data(self._opening + b'],"usage":' + usage + b"}") + _DONE


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
