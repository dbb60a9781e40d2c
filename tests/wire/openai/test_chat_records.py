"""What a stream of chunks joins to is what the whole answer says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.answers import answers
from trillama.base.errors import EngineError, TrillamaError
from trillama.base.events import StopReason, Usage
from trillama.base.messages import ToolCall, ToolFunction
from trillama.base.turns import Chosen, Finished, Piece
from trillama.wire.openai.chat_records import ChatRecords
from trillama.wire.openai.errors import error_object
from trillama.wire.openai.records import Heading


def records(choices: int = 1, **fields: Any) -> ChatRecords:
    return ChatRecords(Heading("1", "m", 5), choices, **fields)


def documents(data: bytes) -> list[Any]:
    """The JSON of a stream that ended well."""
    *found, done, rest = data.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(line.removeprefix("data: ")) for line in found]


def whole(said: Sequence[tuple[Sequence[Piece], Finished]]) -> Any:
    return json.loads(records(len(said)).whole([[*each, end] for each, end in said]))


def reassembled(chunks: list[Any], index: int) -> dict[str, Any]:
    """A choice as the chunks of a stream tell it."""
    mine = [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]
    message: dict[str, Any] = {"role": mine[0]["delta"]["role"], "content": ""}
    logprobs: list[Any] = []
    for choice in mine:
        for name, value in choice["delta"].items():
            if name == "tool_calls":
                message["tool_calls"] = message.get(name, []) + value
            elif name != "role":
                message[name] = message.get(name, "") + value
        logprobs += choice.get("logprobs", {}).get("content", [])
    if "tool_calls" in message:
        message["content"] = message["content"] or None
    found = {"index": index, "message": message, "finish_reason": mine[-1]["finish_reason"]}
    return found | ({"logprobs": {"content": logprobs, "refusal": None}} if logprobs else {})


@given(st.lists(answers, min_size=1, max_size=3))
def test_a_stream_joins_to_the_whole_answer(said: list[tuple[list[Piece], Finished]]) -> None:
    """Content, reasoning, calls, log-probabilities, reason and counts; one end for each choice."""
    writer = records(len(said), includes_usage=True)
    events = [
        Chosen(at, event) if len(said) > 1 else event
        for at, (each, end) in enumerate(said)
        for event in (*each, end)
    ]
    *chunks, usage = documents(b"".join(writer.write([event]) for event in events))
    expected = whole(said)

    assert [reassembled(chunks, at) for at in range(len(said))] == expected["choices"]
    assert usage["usage"] == expected["usage"]
    assert usage["choices"] == []
    reasons = [c["finish_reason"] for chunk in chunks for c in chunk["choices"]]
    assert len([reason for reason in reasons if reason]) == len(said)


def test_a_call_without_an_id_gets_one() -> None:
    """Clients send it back with the result."""
    piece = Piece(tool_calls=(ToolCall(ToolFunction("w")), ToolCall(ToolFunction("w"))))
    end = Finished(reason=StopReason.STOP, usage=Usage())
    (choice,) = json.loads(records().whole([(piece, end)]))["choices"]
    first, second = choice["message"]["tool_calls"]

    assert first["id"].startswith("call_")
    assert first["id"] != second["id"]
    assert (first["index"], second["index"]) == (0, 1)
    assert (choice["finish_reason"], first["function"]["arguments"]) == ("tool_calls", "{}")


def test_errors_have_four_keys() -> None:
    """In a body and in the middle of a stream alike."""
    event = records().error(EngineError("broken"))

    assert json.loads(event.removeprefix(b"data: ")) == {
        "error": {"message": "broken", "type": "api_error", "param": None, "code": "engine_error"}
    }
    assert error_object(TrillamaError("x"))["code"] == "internal_error"
