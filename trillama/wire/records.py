"""Records of the native dialect: neutral events as NDJSON lines or as one object.

The hot path of every native stream: what is the same in each record is encoded once, so a token
costs one escaped string and one join. Field order and what is left out when empty are Ollama's;
``truncated``, ``prompt_tokens_dropped`` and ``tool_call_malformed`` are ours and stand on the last
record only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..base.errors import TrillamaError
from ..base.messages import ToolCall
from ..base.turns import Candidate, Finished, Piece, TokenLogprob, TurnEvent
from .gojson import Clock, encode, encode_text, number, with_numbers

_MORE = b',"done":false}\n'


def _candidate(found: Candidate) -> dict[str, Any]:
    shown = {"token": found.text.decode("utf-8", "replace"), "logprob": number(found.logprob)}
    return shown | ({"bytes": list(found.text)} if found.text else {})


def _logprob(found: TokenLogprob) -> dict[str, Any]:
    top = [_candidate(one) for one in found.top]
    return _candidate(found.chosen) | ({"top_logprobs": top} if top else {})


def _with_logprobs(record: bytes, said: Piece) -> bytes:
    """``record`` with the log-probabilities of a piece as its last field."""
    entries = encode([_logprob(one) for one in said.logprobs])
    end = record.rindex(b"}")
    return record[:end] + b',"logprobs":' + entries + record[end:]


def _metrics(event: Finished) -> dict[str, Any]:
    usage = event.usage
    found = {
        "total_duration": event.total_ns,
        "load_duration": event.load_ns,
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": usage.prompt_ns,
        "eval_count": usage.output_tokens,
        "eval_duration": usage.output_ns,
        "draft_count": usage.drafted_tokens,
        "draft_accepted_count": usage.accepted_tokens,
        "truncated": event.dropped > 0,
        "prompt_tokens_dropped": event.dropped,
        "tool_call_malformed": event.malformed,
    }
    return {name: value for name, value in found.items() if value}


def _call(call: ToolCall) -> dict[str, Any]:
    function = call.function
    told = {
        "index": function.index,
        "name": function.name,
        "arguments": with_numbers(function.arguments),
    }
    return ({"id": call.id} if call.id else {}) | {"function": told}


class Records:
    """Writes the records of one answer.

    Args:
        model: the name as the client sent it.
    """

    content_type = "application/x-ndjson"
    _open: ClassVar[bytes]
    _close: ClassVar[bytes]
    _debug: ClassVar[dict[str, Any]]

    def __init__(self, model: str, clock: Clock | None = None) -> None:
        self.over = False
        self._clock = clock or Clock()
        self._model = model
        self._head = b'{"model":' + encode_text(model) + b',"created_at":"'

    def write(self, events: Sequence[TurnEvent]) -> bytes:
        """Lines for events that came together."""
        start = self._head + self._clock.utc().encode() + b'"' + self._open
        self.over = isinstance(events[-1], Finished)
        return b"".join(
            [
                start
                + self._said(event)
                + (_with_logprobs(_MORE, event) if event.logprobs else _MORE)
                if isinstance(event, Piece)
                else start + b'""' + self._close + self._ending(event)
                for event in events
            ]
        )

    def whole(self, said: Piece, end: Finished) -> bytes:
        """The one object of an answer that is not streamed."""
        ending = self._ending(end).rstrip()
        return self._record(said, _with_logprobs(ending, said) if said.logprobs else ending)

    def nothing_said(self, reason: str) -> bytes:
        """The object that answers a mere load or unload."""
        return self._record(Piece(), b',"done":true,"done_reason":"' + reason.encode() + b'"}')

    def rendered(self, template: str, pictures: int = 0) -> bytes:
        """The object that shows a rendered prompt instead of an answer, and how many pictures."""
        count = {"image_count": pictures} if pictures else {}
        return encode(
            {
                "model": self._model,
                "created_at": self._clock.utc(),
                **self._debug,
                "done": False,
                "_debug_info": {"rendered_template": template, **count},
            }
        )

    def error(self, error: TrillamaError) -> bytes:
        """The line that ends a stream in trouble."""
        return b'{"error":' + encode_text(error.message) + b"}\n"

    def keep_alive(self) -> bytes:
        """Nothing: a line of NDJSON always says something."""
        return b""

    def _record(self, said: Piece, ending: bytes) -> bytes:
        moment = self._clock.utc().encode()
        return self._head + moment + b'"' + self._open + self._said(said) + ending

    def _said(self, said: Piece) -> bytes:
        content = encode_text(said.content)
        if said.thinking:
            content += b',"thinking":' + encode_text(said.thinking)
        if said.tool_calls:
            content += b',"tool_calls":' + encode([_call(call) for call in said.tool_calls])
        return content + self._close

    def _ending(self, event: Finished) -> bytes:
        tokens = {"context": event.tokens} if event.tokens else {}
        found = {"done": True, "done_reason": event.reason.value, **tokens, **_metrics(event)}
        return b"," + encode(found)[1:] + b"\n"


class GenerateRecords(Records):
    """Records of ``/api/generate``."""

    _open = b',"response":'
    _close = b""
    _debug: ClassVar[dict[str, Any]] = {"response": ""}


class ChatRecords(Records):
    """Records of ``/api/chat``."""

    _open = b',"message":{"role":"assistant","content":'
    _close = b"}"
    _debug: ClassVar[dict[str, Any]] = {"message": {"role": "", "content": ""}}
