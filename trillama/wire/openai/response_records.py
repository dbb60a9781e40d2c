"""Records of ``/v1/responses``: neutral events as numbered events of a stream or as one object.

One machine for both: a whole response is what is left when the stream's events are thrown away.
Items follow one another; each is opened, filled and closed before the next, under an index of its
own. The last event is ``response.completed``, ``.incomplete`` at the limit, or ``.failed``.
Log-probabilities have a place in messages alone; those of reasoning and of calls are not told.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...base.errors import TrillamaError
from ...base.events import StopReason, Usage
from ...base.messages import Message, ToolCall
from ...base.turns import Chosen, Finished, Piece, TurnEvent, merged
from .. import sse
from ..gojson import encode, encode_text
from .logprobs import chat_logprobs
from .records import Heading, call_objects
from .response_objects import response_object, usage_object
from .responses import ENCRYPTED, ResponsesRequest

Keep = Callable[[dict[str, Any], Message], None]
"""Takes a response that ended well, and what the assistant said in it."""

_STATUS = {StopReason.LENGTH: "incomplete"}


class ResponseRecords:
    """Writes one response.

    Args:
        heading: its ``id`` is what the response can be asked for by.
        keep: called once, when the response has ended well.
    """

    content_type = sse.CONTENT_TYPE

    def __init__(self, heading: Heading, request: ResponsesRequest, keep: Keep) -> None:
        self.over = False
        self._id = heading.id
        self._keep = keep
        self._response = response_object(heading, request)
        self._encrypts = ENCRYPTED in (request.include or ())
        self._output: list[dict[str, Any]] = []
        self._number = 0
        self._started = False
        self._kind = ""
        self._delta = b""
        self._text: list[str] = []
        self._logprobs: list[Any] = []
        self._said: list[Piece] = []

    def begun(self, usage: Callable[[], Usage]) -> None:
        """The counts come last here."""

    def write(self, events: Sequence[TurnEvent | Chosen]) -> bytes:
        """Events of the stream for events that came together."""
        return self._start() + b"".join([self._one(event) for event in events])

    def whole(self, answers: Sequence[Sequence[TurnEvent]]) -> bytes:
        """The one object of a response that is not streamed."""
        (events,) = answers
        self.write(list(_runs(events)))
        return encode(self._response)

    def error(self, error: TrillamaError) -> bytes:
        """The event that ends a stream in trouble."""
        before = self._start()
        self._response |= {
            "status": "failed",
            "error": {"code": "server_error", "message": error.message},
            "output": self._output,
        }
        return before + self._event("response.failed", response=self._response)

    def keep_alive(self) -> bytes:
        """What is sent while nothing is said."""
        return sse.COMMENT

    def _event(self, kind: str, **fields: Any) -> bytes:
        document = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return sse.event(kind.encode(), encode(document))

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        created = self._event("response.created", response=self._response)
        return created + self._event("response.in_progress", response=self._response)

    def _one(self, event: TurnEvent | Chosen) -> bytes:
        if isinstance(event, Chosen):
            event = event.event
        if isinstance(event, Finished):
            return self._finish(event)
        self._said.append(event)
        said = self._reason(event.thinking) if event.thinking else b""
        if event.content or (event.logprobs and self._may_speak(event)):
            said += self._speak(event)
        return said + b"".join([self._call(call) for call in event.tool_calls])

    def _may_speak(self, event: Piece) -> bool:
        """Tokens without text belong to the message that is open, or would be the first thing."""
        silent = not (event.thinking or event.tool_calls)
        return silent and (self._kind == "message" or not (self._kind or self._output))

    # -- items ------------------------------------------------------------------------------------

    @property
    def _place(self) -> dict[str, Any]:
        """Where the open item stands."""
        return {"item_id": self._item_id(self._kind), "output_index": len(self._output)}

    def _item_id(self, kind: str) -> str:
        prefix = {"reasoning": "rs", "message": "msg", "function_call": "fc"}[kind]
        return f"{prefix}_{self._id}_{len(self._output)}"

    def _open(self, kind: str, item: dict[str, Any]) -> bytes:
        before = self._close("completed")
        self._kind, self._text, self._logprobs = kind, [], []
        item = {"id": self._item_id(kind), "type": kind, **item}
        at = len(self._output)
        return before + self._event("response.output_item.added", output_index=at, item=item)

    def _done(self, item: dict[str, Any]) -> bytes:
        item = {"id": self._item_id(self._kind), "type": self._kind, **item}
        said = self._event("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        self._kind = ""
        return said

    def _close(self, status: str) -> bytes:
        """End the open item, if there is one."""
        if self._kind == "reasoning":
            return self._end_reasoning()
        return self._end_message(status) if self._kind == "message" else b""

    def _reason(self, text: str) -> bytes:
        before = b""
        if self._kind != "reasoning":
            before = self._open("reasoning", {"summary": []}) + self._event(
                "response.reasoning_summary_part.added",
                **self._place,
                summary_index=0,
                part={"type": "summary_text", "text": ""},
            )
        self._text.append(text)
        return before + self._event(
            "response.reasoning_summary_text.delta", **self._place, summary_index=0, delta=text
        )

    def _end_reasoning(self) -> bytes:
        text = "".join(self._text)
        part = {"type": "summary_text", "text": text}
        where = {**self._place, "summary_index": 0}
        item: dict[str, Any] = {"summary": [part]}
        if self._encrypts:
            item["encrypted_content"] = text
        return (
            self._event("response.reasoning_summary_text.done", **where, text=text)
            + self._event("response.reasoning_summary_part.done", **where, part=part)
            + self._done(item)
        )

    def _begin_message(self) -> bytes:
        item = {"status": "in_progress", "role": "assistant", "content": []}
        opened = self._open("message", item)
        where = encode({**self._place, "content_index": 0})[1:-1]
        self._delta = b'{"type":"response.output_text.delta",' + where + b',"sequence_number":'
        return opened + self._event(
            "response.content_part.added", **self._place, content_index=0, part=_part("", [])
        )

    def _speak(self, piece: Piece) -> bytes:
        before = b"" if self._kind == "message" else self._begin_message()
        logprobs = chat_logprobs(piece.logprobs)["content"] if piece.logprobs else []
        self._text.append(piece.content)
        self._logprobs += logprobs
        delta = self._delta + b'%d,"delta":' % self._number + encode_text(piece.content)
        self._number += 1
        shown = delta + b',"logprobs":' + encode(logprobs) + b"}"
        return before + sse.event(b"response.output_text.delta", shown)

    def _end_message(self, status: str) -> bytes:
        text, logprobs = "".join(self._text), self._logprobs
        where = {**self._place, "content_index": 0}
        part = _part(text, logprobs)
        return (
            self._event("response.output_text.done", **where, text=text, logprobs=logprobs)
            + self._event("response.content_part.done", **where, part=part)
            + self._done({"status": status, "role": "assistant", "content": [part]})
        )

    def _call(self, call: ToolCall) -> bytes:
        (shown,) = call_objects((call,), 0)
        arguments = shown["function"]["arguments"]
        item = {"call_id": shown["id"], "name": call.function.name}
        opened = self._open("function_call", {**item, "status": "in_progress", "arguments": ""})
        where = self._place
        return (
            opened
            + self._event("response.function_call_arguments.delta", **where, delta=arguments)
            + self._event(
                "response.function_call_arguments.done",
                **where,
                name=call.function.name,
                arguments=arguments,
            )
            + self._done({**item, "status": "completed", "arguments": arguments})
        )

    # -- the end ----------------------------------------------------------------------------------

    def _finish(self, end: Finished) -> bytes:
        self.over = True
        status = _STATUS.get(end.reason, "completed")
        said = b"" if self._kind or self._output else self._begin_message()
        said += self._close(status)
        self._response |= {
            "status": status,
            "completed_at": int(time.time()),
            "output": self._output,
            "usage": usage_object(end),
        }
        if status == "incomplete":
            self._response["incomplete_details"] = {"reason": "max_output_tokens"}
        self._keep(self._response, self._answer())
        return said + self._event(f"response.{status}", response=self._response)

    def _answer(self) -> Message:
        calls = [item for item in self._output if item["type"] == "function_call"]
        made = [call for piece in self._said for call in piece.tool_calls]
        return Message(
            "assistant",
            "".join(piece.content for piece in self._said),
            thinking="".join(piece.thinking for piece in self._said),
            tool_calls=tuple(
                ToolCall(call.function, item["call_id"])
                for call, item in zip(made, calls, strict=True)
            ),
        )


def _run_of(event: TurnEvent) -> str:
    """What an event goes on with, where it does nothing else."""
    if isinstance(event, Finished) or event.tool_calls or (event.thinking and event.content):
        return ""
    return "thinking" if event.thinking else "content" if event.content else ""


def _runs(events: Sequence[TurnEvent]) -> Iterator[TurnEvent]:
    """``events`` with those of one item as one, for nobody reads what is between them."""
    for kind, run in itertools.groupby(events, _run_of):
        if kind:
            yield merged([event for event in run if isinstance(event, Piece)])
        else:
            yield from run


def _part(text: str, logprobs: list[Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
