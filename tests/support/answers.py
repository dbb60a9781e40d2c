"""Answers of every shape, as neutral events: what properties of records are tried on."""

from __future__ import annotations

from hypothesis import strategies as st

from trillama.base.events import StopReason, Usage
from trillama.base.messages import ToolCall, ToolFunction
from trillama.base.turns import Candidate, Finished, Piece, TokenLogprob

text = st.text(max_size=5)
candidates = st.builds(
    Candidate, st.integers(0, 99), st.binary(max_size=4), st.floats(-50, 0) | st.just(-float("inf"))
)
calls = st.builds(
    ToolCall,
    st.builds(ToolFunction, text, st.dictionaries(text, st.integers(), max_size=2)),
    st.text("abc", min_size=1, max_size=4),
)
pieces = st.builds(
    Piece,
    content=text,
    thinking=text,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    logprobs=st.lists(
        st.builds(TokenLogprob, candidates, st.lists(candidates, max_size=2).map(tuple)), max_size=2
    ).map(tuple),
)
ends = st.builds(
    Finished,
    reason=st.sampled_from([StopReason.STOP, StopReason.LENGTH]),
    usage=st.builds(
        Usage,
        prompt_tokens=st.integers(50, 99),
        cached_tokens=st.integers(0, 49),
        output_tokens=st.integers(0, 99),
    ),
    stop=st.sampled_from(["", "STOP"]),
)
answers = st.tuples(st.lists(pieces, max_size=6), ends)
"""What is said, and how it ends."""
