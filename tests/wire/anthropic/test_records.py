"""What a stream of events joins to is what the whole message says."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given

from tests.support.answers import answers
from trillama.base.errors import Busy
from trillama.base.turns import Finished, Piece
from trillama.wire.anthropic.records import MessageRecords


def documents(data: bytes) -> list[Any]:
    """The JSON of a stream's events, whose names agree with it."""
    found = []
    for event in data.decode().split("\n\n")[:-1]:
        name, line = event.split("\n")
        document = json.loads(line.removeprefix("data: "))
        assert name == f"event: {document['type']}"
        found.append(document)
    return found


def blocks(events: list[Any]) -> list[dict[str, Any]]:
    """The blocks of a stream, each opened, filled and closed before the next."""
    found: list[dict[str, Any]] = []
    open_ = False
    for event in events:
        if event["type"] == "content_block_start":
            assert not open_
            assert event["index"] == len(found)
            found.append(dict(event["content_block"]))
            open_ = True
        elif event["type"] == "content_block_delta":
            assert open_
            assert event["index"] == len(found) - 1
            delta = {k: v for k, v in event["delta"].items() if k != "type"}
            for name, value in delta.items():
                if name == "partial_json":
                    found[-1]["input"] = json.loads(value)
                else:
                    found[-1][name] += value
        elif event["type"] == "content_block_stop":
            assert open_
            open_ = False
    assert not open_
    return found


@given(answers)
def test_a_stream_joins_to_the_whole_message(said: tuple[list[Piece], Finished]) -> None:
    """Text, thinking, tool use, reason, stop and counts; one start and one end."""
    each, end = said
    writer = MessageRecords("1", "m")
    writer.begun(lambda: end.usage)
    events = documents(b"".join(writer.write([event]) for event in (*each, end)))
    message = json.loads(MessageRecords("1", "m").whole([[*each, end]]))
    found = blocks(events)

    for kind, field in (("text", "text"), ("thinking", "thinking")):
        joined = "".join(block[field] for block in found if block["type"] == kind)
        assert joined == "".join(b[field] for b in message["content"] if b["type"] == kind)
    assert [b for b in found if b["type"] == "tool_use"] == [
        b for b in message["content"] if b["type"] == "tool_use"
    ]
    names = [event["type"] for event in events]
    assert names[:2] == ["message_start", "ping"]
    assert names[-2:] == ["message_delta", "message_stop"]
    assert names.count("message_start") == names.count("message_stop") == 1
    last = events[-2]
    assert last["usage"] == message["usage"]
    assert events[0]["message"]["usage"] == message["usage"]
    assert last["delta"] == {k: message[k] for k in ("stop_reason", "stop_sequence")}


def test_errors_end_a_stream_in_anthropics_words() -> None:
    """With the id of the request."""
    event = MessageRecords("7", "m").error(Busy("full"))

    (document,) = documents(event)
    assert document == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "full"},
        "request_id": "req_7",
    }
