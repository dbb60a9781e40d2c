"""Read a streamed completion off a socket: bytes in, events out; no sockets, no clocks.

The load generator shares its processors with the server it measures, so it speaks HTTP by hand and
decodes each line into a small struct. All dialects take the same road and cost the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

MAX_HEAD = 1 << 16


class BadReply(Exception):
    """The server's bytes are not the reply that was asked for."""


class Event(msgspec.Struct, frozen=True):
    """One line of the stream that matters. Counts are None where the line does not carry them.

    Attributes:
        text: the line carries generated text.
        prompt_tokens: length of the prompt as the server counted it.
        cached_tokens: how much of the prompt the server did not have to compute.
        output_tokens: how many tokens were generated.
        error: the stream failed, with these words.
    """

    text: bool = False
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None


class Dialect(Protocol):
    """How one API writes a line. `parse` gets a line without its line end, never an empty one."""

    path: str

    def parse(self, line: bytes) -> Event | None: ...


class _OllamaLine(msgspec.Struct):
    response: str = ""
    done: bool = False
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Choice(msgspec.Struct):
    text: str = ""


class _OpenAILine(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


class _Timings(msgspec.Struct):
    cache_n: int | None = None


class _LlamaLine(msgspec.Struct):
    content: str = ""
    stop: bool = False
    tokens_evaluated: int | None = None
    tokens_predicted: int | None = None
    timings: _Timings | None = None
    error: Any = None


_NO_TIMINGS, _NO_USAGE, _NO_DETAILS = _Timings(), _Usage(), _Details()
_TEXT = Event(text=True)


class Ollama:
    """`/api/generate`: one JSON object a line, the last with the counts."""

    path = "/api/generate"
    _decode = msgspec.json.Decoder(_OllamaLine).decode

    def parse(self, line: bytes) -> Event | None:
        got = self._decode(line)
        if got.error is not None:
            return Event(error=got.error)
        if not got.done:
            return _TEXT if got.response else None
        return Event(bool(got.response), got.prompt_eval_count, None, got.eval_count)


class OpenAI:
    """`/v1/completions`: server-sent events, usage in one of the last."""

    path = "/v1/completions"
    _decode = msgspec.json.Decoder(_OpenAILine).decode

    def parse(self, line: bytes) -> Event | None:
        data = _event_data(line)
        if data is None or data == b"[DONE]":
            return None
        got = self._decode(data)
        if got.error is not None:
            return Event(error=str(got.error))
        text = any(choice.text for choice in got.choices)
        if got.usage is None:
            return _TEXT if text else None
        usage = got.usage
        cached = (usage.prompt_tokens_details or _NO_DETAILS).cached_tokens
        return Event(text, usage.prompt_tokens, cached, usage.completion_tokens)


class Llama:
    """llama-server's own `/completion`: server-sent events, the last with `stop` and the counts."""

    path = "/completion"
    _decode = msgspec.json.Decoder(_LlamaLine).decode

    def parse(self, line: bytes) -> Event | None:
        data = _event_data(line)
        if data is None:
            return None
        got = self._decode(data)
        if got.error is not None:
            return Event(error=str(got.error))
        if not got.stop:
            return _TEXT if got.content else None
        cached = (got.timings or _NO_TIMINGS).cache_n
        return Event(bool(got.content), got.tokens_evaluated, cached, got.tokens_predicted)


DIALECTS: dict[str, Dialect] = {"ollama": Ollama(), "openai": OpenAI(), "llama": Llama()}


def _event_data(line: bytes) -> bytes | None:
    """The data of a server-sent event, None for comments and other fields. llama-server names its
    errors in a field of their own."""
    for field in (b"data:", b"error:"):
        if line.startswith(field):
            return line[len(field) :].strip()
    return None


@dataclass
class _Body:
    """What is known of the body's framing once the head is read."""

    chunked: bool
    left: int | None  # bytes left of the chunk, or of a body with a length; None: until the end


class ReplyReader:
    """One HTTP reply, fed in pieces of any size. `complete` turns true with its last byte,
    `retry_after` is what its head says, in seconds."""

    def __init__(self, dialect: Dialect) -> None:
        self._parse = dialect.parse
        self._raw = b""  # framed bytes not yet understood
        self._line = b""  # unframed bytes of a line not yet ended
        self._status = 0
        self._body: _Body | None = None
        self.complete = False
        self.retry_after = 0

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes (empty: the server closed). Raises BadReply."""
        if not data:
            return self._end()
        self._raw += data
        if self._body is None and not self._read_head():
            return []
        return self._lines(self._unframe())

    def _end(self) -> list[Event]:
        if self._body is None or self._body.chunked or self._body.left:
            raise BadReply("the connection closed inside the reply")
        self.complete = True
        return self._lines(b"\n")

    def _read_head(self) -> bool:
        head, end, rest = self._raw.partition(b"\r\n\r\n")
        if not end:
            if len(head) > MAX_HEAD:
                raise BadReply("the head of the reply does not end")
            return False
        status, *fields = head.split(b"\r\n")
        self._status = _parse_status(status)
        headers = {k.strip().lower(): v.strip() for k, _, v in (f.partition(b":") for f in fields)}
        chunked = headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        after = headers.get(b"retry-after", b"")
        self.retry_after = int(after) if after.isdigit() else 0
        length = headers.get(b"content-length")
        self._body = _Body(chunked, 0 if chunked else int(length) if length else None)
        self._raw = rest
        return True

    def _unframe(self) -> bytes:
        """Move what is understood of `_raw` out of its frame."""
        body = self._body
        assert body is not None
        if body.chunked:
            return self._unchunk(body)
        plain, self._raw = self._raw, b""
        if body.left is not None:
            body.left -= len(plain)
            self.complete = body.left <= 0
        return plain

    def _unchunk(self, body: _Body) -> bytes:
        out, raw, at = [], self._raw, 0
        while not self.complete:
            if not body.left:
                end = raw.find(b"\r\n", at)
                if end < 0:
                    break
                size, at = _parse_size(raw[at:end]), end + 2
                self.complete = size == 0
                body.left = size + 2  # the data and its line end
            take = raw[at : at + body.left]
            at += len(take)
            keep = len(take) - max(0, 2 - (body.left - len(take)))
            out.append(take[: max(0, keep)])
            body.left -= len(take)
            if body.left:
                break
        self._raw = raw[at:]
        return b"".join(out)

    def _lines(self, plain: bytes) -> list[Event]:
        *lines, self._line = (self._line + plain).split(b"\n")
        if self.complete and self._line:
            lines, self._line = [*lines, self._line], b""
        if self._status != 200:
            return [Event(error=f"{self._status}: {line!r}") for line in lines]
        return [event for line in lines if line.strip() and (event := self._parse_line(line))]

    def _parse_line(self, line: bytes) -> Event | None:
        try:
            return self._parse(line)
        except msgspec.MsgspecError as error:
            raise BadReply(f"{error}: {line[:200]!r}") from error


def _parse_status(line: bytes) -> int:
    words = line.split(b" ", 2)
    if len(words) < 2 or not line.startswith(b"HTTP/1.") or not words[1].isdigit():
        raise BadReply(f"not a status line: {line[:80]!r}")
    return int(words[1])


def _parse_size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError as error:
        raise BadReply(f"not a chunk size: {line[:80]!r}") from error
