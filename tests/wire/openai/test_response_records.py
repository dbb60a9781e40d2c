"""What a stream of events builds is the response that is not streamed."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given

from tests.support.answers import answers
from trillama.base.errors import EngineError
from trillama.base.events import StopReason, Usage
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.base.turns import Candidate, Finished, Piece, TokenLogprob
from trillama.wire.openai.records import Heading
from trillama.wire.openai.response_objects import response_object
from trillama.wire.openai.response_records import ResponseRecords
from trillama.wire.openai.responses import ResponsesRequest, read_response

LAST = ("response.completed", "response.incomplete", "response.failed")


def records(kept: list[tuple[dict[str, Any], Message]]) -> ResponseRecords:
    request = ResponsesRequest(model="m", input="x")
    return ResponseRecords(
        Heading("1", "m", 5), request, lambda response, said: kept.append((response, said))
    )


def documents(data: bytes) -> list[Any]:
    """The JSON of a stream's events, whose names and numbers agree with it."""
    found = []
    for number, event in enumerate(data.decode().split("\n\n")[:-1]):
        name, line = event.split("\n")
        document = json.loads(line.removeprefix("data: "))
        assert (name, document["sequence_number"]) == (f"event: {document['type']}", number)
        found.append(document)
    return found


def built(events: list[Any]) -> list[dict[str, Any]]:
    """Items as the small events tell them, each closed before the next."""
    found: list[dict[str, Any]] = []
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert event["output_index"] == len(found)
            found.append({"id": event["item"]["id"], "said": "", "done": None})
        elif "output_index" in event:
            item = found[-1]
            assert event["output_index"] == len(found) - 1
            assert item["done"] is None
            assert event.get("item_id", item["id"]) == item["id"]
            if kind.endswith(".delta"):
                item["said"] += event["delta"]
            elif kind == "output_item.done":
                item["done"] = event["item"]
    return found


def text_of(item: dict[str, Any]) -> str:
    """What an item says."""
    if item["type"] == "function_call":
        return str(item["arguments"])
    parts = item["summary"] if item["type"] == "reasoning" else item["content"]
    return "".join(part["text"] for part in parts)


@given(answers)
def test_a_stream_builds_the_whole_response(said: tuple[list[Piece], Finished]) -> None:
    """Text, reasoning, calls, status and counts; one first event and one last."""
    each, end = said
    kept: list[tuple[dict[str, Any], Message]] = []
    writer = records(kept)
    events = documents(b"".join(writer.write([event]) for event in (*each, end)))
    response = json.loads(records([]).whole([(*each, end)]))
    items = built(events)
    last = events[-1]["response"]

    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event["type"] for event in events if event["type"] in LAST] == [
        f"response.{response['status']}"
    ]
    assert [item["done"] for item in items] == last["output"]
    assert [item["said"] for item in items] == list(map(text_of, last["output"]))
    assert last["output"] == response["output"]
    assert (last["status"], last["usage"]) == (response["status"], response["usage"])
    ((_, message),) = kept
    assert message.content == "".join(piece.content for piece in each)
    assert len(message.tool_calls) == sum(len(piece.tool_calls) for piece in each)


def test_the_format_is_told_as_it_was_asked_for() -> None:
    """With its labels: clients of typed languages cannot read a schema without a name."""
    wanted = {"type": "json_schema", "name": "n", "description": "d", "schema": {}, "strict": True}
    asked = {"model": "m", "input": "x", "text": {"format": wanted}}
    request = read_response(json.dumps(asked).encode())
    plain = response_object(Heading("1", "m", 5), ResponsesRequest(model="m"))

    assert response_object(Heading("1", "m", 5), request)["text"] == {"format": wanted}
    assert plain["text"] == {"format": {"type": "text"}}


def test_trouble_is_the_last_event_wherever_it_comes() -> None:
    """Before the first word too; nothing is kept."""
    kept: list[tuple[dict[str, Any], Message]] = []
    early = documents(records(kept).error(EngineError("broken")))
    writer = records(kept)
    late = documents(writer.write([Piece("x")]) + writer.error(EngineError("broken")))

    for events in (early, late):
        assert events[0]["type"] == "response.created"
        assert events[-1]["type"] == "response.failed"
        assert events[-1]["response"]["error"]["message"] == "broken"
    assert kept == []


def test_log_probabilities_are_of_what_a_message_says() -> None:
    """Those of reasoning and of calls have no place in it, and no item is made for their sake."""
    score = (TokenLogprob(Candidate(1, b"x", -1.0)),)
    call = ToolCall(ToolFunction("f", {}), "c")
    said = [
        Piece(thinking="a", logprobs=score),
        Piece(thinking="b", logprobs=score),
        Piece("c", logprobs=score),
        Piece("d", logprobs=score),
        Piece(tool_calls=(call,), logprobs=score),
        Piece(logprobs=score),
    ]
    end = Finished(reason=StopReason.STOP, usage=Usage())
    writer = records([])
    streamed = documents(b"".join(writer.write([event]) for event in (*said, end)))
    response = json.loads(records([]).whole([(*said, end)]))

    for output in (streamed[-1]["response"]["output"], response["output"]):
        assert [item["type"] for item in output] == ["reasoning", "message", "function_call"]
        (part,) = output[1]["content"]
        assert (part["text"], len(part["logprobs"])) == ("cd", 2)


def test_a_token_without_text_still_has_its_log_probability() -> None:
    """Where nothing else was said, and at the end of a message."""
    score = (TokenLogprob(Candidate(1, b"\xc3", -1.0)),)
    end = Finished(reason=StopReason.LENGTH, usage=Usage())
    for said in ([], [Piece("c", logprobs=score)]):
        response = json.loads(records([]).whole([(*said, Piece(logprobs=score), end)]))
        (item,) = response["output"]
        assert len(item["content"][0]["logprobs"]) == len(said) + 1
