"""What a stream of chunks joins to is what the whole completion says."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.answers import answers
from trillama.base.turns import Chosen, Finished, Piece
from trillama.wire.openai.completion_records import CompletionRecords
from trillama.wire.openai.records import Heading


def records(echoes: list[str]) -> CompletionRecords:
    return CompletionRecords(Heading("1", "m", 5), echoes, 1, includes_usage=True)


def columns(found: list[Any]) -> dict[str, list[Any]] | None:
    """Log-probabilities of several chunks together."""
    there = [each for each in found if each]
    if not there:
        return None
    return {name: [one for each in there for one in each[name]] for name in there[0]}


@given(st.lists(st.tuples(answers, st.sampled_from(["", "echo"])), min_size=1, max_size=3))
def test_a_stream_joins_to_the_whole_completion(
    said: list[tuple[tuple[list[Piece], Finished], str]],
) -> None:
    """Text, log-probabilities, reason and counts of every choice."""
    echoes = [echo for _, echo in said]
    writer = records(echoes)
    events = [
        Chosen(at, event) if len(said) > 1 else event
        for at, ((each, end), _) in enumerate(said)
        for event in (*each, end)
    ]
    data = b"".join(writer.write([event]) for event in events).decode()
    *lines, done, rest = data.split("\n\n")
    *chunks, usage = [json.loads(line.removeprefix("data: ")) for line in lines]
    expected = json.loads(records(echoes).whole([[*each, end] for (each, end), _ in said]))

    assert (done, rest) == ("data: [DONE]", "")
    for choice in expected["choices"]:
        mine = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert "".join(c["text"] for c in mine) == choice["text"]
        assert columns([c["logprobs"] for c in mine]) == choice["logprobs"]
        assert [c["finish_reason"] for c in mine if c["finish_reason"]] == [choice["finish_reason"]]
    assert (usage["usage"], usage["choices"]) == (expected["usage"], [])
