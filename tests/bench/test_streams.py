"""The reply reader: three dialects, every framing, any cut, and what must not pass."""

from __future__ import annotations

import pytest

from bench.streams import DIALECTS, BadReply, Event, ReplyReader

OLLAMA = (
    b'{"model":"m","created_at":"t","response":" ab","done":false}\n'
    b'{"model":"m","created_at":"t","response":"","done":false}\n'
    b'{"model":"m","created_at":"t","response":" cd","done":false}\n'
    b'{"model":"m","response":"","done":true,"done_reason":"length",'
    b'"prompt_eval_count":100,"eval_count":2}\n'
)
OPENAI = (
    b": ping\n\n"
    b'data: {"choices":[{"text":" ab","index":0,"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"text":"","index":0,"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"text":" cd","index":0,"finish_reason":"length"}]}\r\n\r\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":2,"total_tokens":102,'
    b'"prompt_tokens_details":{"cached_tokens":7}}}\n\n'
    b"data: [DONE]\n\n"
)
LLAMA = (
    b'data: {"index":0,"content":" ab","tokens":[300],"stop":false}\n\n'
    b'data: {"index":0,"content":"","tokens":[],"stop":false}\n\n'
    b'data: {"index":0,"content":" cd","tokens":[301],"stop":false}\n\n'
    b'data: {"content":"","stop":true,"tokens_evaluated":100,"tokens_predicted":2,'
    b'"timings":{"cache_n":7,"prompt_n":93}}\n\n'
)
TEXT = Event(text=True)
BODIES = {
    "ollama": (OLLAMA, [TEXT, TEXT, Event(False, 100, None, 2)]),
    "openai": (OPENAI, [TEXT, TEXT, Event(False, 100, 7, 2)]),
    "llama": (LLAMA, [TEXT, TEXT, Event(False, 100, 7, 2)]),
}
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    framed = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(framed) + b"0\r\n\r\n"


def counted(body: bytes) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def read(reader: ReplyReader, raw: bytes, step: int) -> list[Event]:
    return [e for i in range(0, len(raw), step) for e in reader.feed(raw[i : i + step])]


@pytest.mark.parametrize("api", BODIES)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("chunk", [1, 5, 61, 10_000])
def test_any_cut_of_a_chunked_reply_gives_the_same_events(api: str, step: int, chunk: int) -> None:
    """Neither the chunks of the server nor those of the network change what is read."""
    body, expected = BODIES[api]
    reader = ReplyReader(DIALECTS[api])

    assert read(reader, chunked(body, chunk), step) == expected
    assert reader.complete


@pytest.mark.parametrize("api", BODIES)
@pytest.mark.parametrize("step", [1, 50, 10_000])
def test_a_reply_with_a_length_ends_by_itself(api: str, step: int) -> None:
    """Content-Length is enough to know the end."""
    body, expected = BODIES[api]
    reader = ReplyReader(DIALECTS[api])

    assert read(reader, counted(body), step) == expected
    assert reader.complete


def test_a_reply_without_framing_ends_with_the_connection() -> None:
    """Where the server only closes, the close completes the reply and its last line."""
    reader = ReplyReader(DIALECTS["ollama"])

    events = reader.feed(OK + b"\r\n" + OLLAMA.rstrip())
    assert not reader.complete
    events += reader.feed(b"")

    assert events == BODIES["ollama"][1]
    assert reader.complete


def test_a_reply_cut_short_is_an_error() -> None:
    """A connection that closes before the last chunk is not a complete reply."""
    reader = ReplyReader(DIALECTS["llama"])
    read(reader, chunked(LLAMA, 30)[:-5], 100)

    with pytest.raises(BadReply, match="closed inside"):
        reader.feed(b"")


def test_another_status_than_200_carries_its_words() -> None:
    """A refusal becomes an error event with the status and the body."""
    body = b'{"error":"model \'m\' not found"}'
    raw = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    (event,) = ReplyReader(DIALECTS["ollama"]).feed(raw)

    assert event.error is not None
    assert event.error.startswith("404")
    assert "not found" in event.error


def test_a_refusal_says_when_to_come_back() -> None:
    """In whole seconds; a reply whose head says nothing of it means at once."""
    refused, plain = ReplyReader(DIALECTS["ollama"]), ReplyReader(DIALECTS["ollama"])
    refused.feed(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
    plain.feed(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    assert (refused.retry_after, plain.retry_after) == (7, 0)


@pytest.mark.parametrize(
    ("api", "line"),
    [
        ("ollama", b'{"error":"out of cells"}\n'),
        ("openai", b'data: {"error":{"message":"out of cells"}}\n\n'),
        ("llama", b'error: {"error":{"message":"out of cells"}}\n\n'),
    ],
)
def test_an_error_inside_the_stream_is_seen(api: str, line: bytes) -> None:
    """A stream that fails half-way is an error in every dialect."""
    (event,) = ReplyReader(DIALECTS[api]).feed(counted(line))

    assert event.error is not None
    assert "out of cells" in event.error


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-x\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        counted(b"not json\n"),
        b"x" * 70_000,
    ],
)
def test_bytes_that_are_no_reply_are_refused(raw: bytes) -> None:
    """Whatever is not HTTP, or not the dialect, is BadReply and never a silent nothing."""
    with pytest.raises(BadReply):
        ReplyReader(DIALECTS["ollama"]).feed(raw)
