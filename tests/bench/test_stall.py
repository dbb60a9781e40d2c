"""How a stall is judged, on made-up arrivals of text."""

from __future__ import annotations

import pytest

from bench.stall import against_own, format_answers, judge
from bench.stats import Reply


def stream(*texts: float, ended: float = 0.0) -> Reply:
    return Reply(0.0, list(texts), ended)


def long_prompt(sent: float, first: float) -> Reply:
    return Reply(sent, [first], 0.0)


def test_the_worst_gap_is_set_against_the_usual_one() -> None:
    """The median comes from before the long prompt, the worst gap from while it was read."""
    one = stream(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.5, 1.6, 9.0)
    other = stream(0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.6, 9.0)

    answer = judge("x", [one, other], long_prompt(0.45, 1.7))

    assert answer.median_gap == pytest.approx(100)
    assert answer.worst_gap == pytest.approx(1000)
    assert answer.ratio == pytest.approx(10)
    assert answer.long_ttft == pytest.approx(1250)


def test_a_stream_silent_to_the_end_is_the_worst_of_all() -> None:
    """A gap that had not ended when the long prompt was done counts as long as it lasted."""
    answer = judge("x", [stream(0.0, 0.1, 0.2, 0.3)], long_prompt(0.25, 5.3))

    assert answer.worst_gap == pytest.approx(5000)


def test_streams_that_ended_early_and_errors_are_told() -> None:
    """An experiment whose streams were gone before the prompt was read says so."""
    gone = stream(0.0, 0.1, 0.2, 0.3, ended=0.4)
    failed = stream(0.0, 0.1, 0.2)
    failed.error = "cut"

    answer = judge("x", [gone, failed], long_prompt(0.15, 1.0))

    assert answer.ended_early == 1
    assert answer.errors == 1


def test_growth_is_not_the_long_prompts_fault() -> None:
    """Undisturbed streams whose gaps grow alike show how little of a gap the prompt brought."""
    disturbed = stream(0.0, 0.1, 0.2, 0.4, 1.0, 1.6)
    alone = stream(0.0, 0.1, 0.2, 0.5, 0.8, 1.1)
    long = long_prompt(0.3, 2.0)

    answer = against_own(judge("x", [disturbed], long), [disturbed], long, [alone])

    assert answer.ratio == pytest.approx(6)
    assert answer.own_gap == pytest.approx(300)
    assert answer.own_ratio == answer.own_p99 == pytest.approx(2)
    assert answer.own_at == pytest.approx(1300)
    assert answer.noise == pytest.approx(1)


def test_silence_to_the_end_counts_beside_own_gaps_too() -> None:
    """A stream that was halted until the long prompt was read is no smooth one."""
    halted, alone = stream(0.0, 0.1, 0.2, 0.3), stream(0.0, 0.1, 0.2, 0.3, 0.4)
    long = long_prompt(0.25, 5.3)

    answer = against_own(judge("x", [halted], long), [halted], long, [alone])

    assert answer.own_ratio == pytest.approx(50)


def test_a_hiccup_of_undisturbed_streams_is_told() -> None:
    """What a machine does by itself is no fault of the prompt's."""
    streams, long = [stream(*range(20))], long_prompt(5.5, 20.0)
    control = [stream(*range(10), *range(12, 22))]

    answer = against_own(judge("x", streams, long), streams, long, control)

    assert (answer.own_ratio, answer.noise) == pytest.approx((1, 3))


def test_what_was_not_looked_at_is_not_in_the_table() -> None:
    """Columns about undisturbed streams come with ``--control`` alone."""
    streams, long = [stream(0.0, 0.1, 0.2, 0.3)], long_prompt(0.25, 5.3)
    answer = judge("x", streams, long)

    assert "own" not in format_answers([answer])
    assert "nan" not in format_answers([answer])
    assert "own gap" in format_answers([against_own(answer, streams, long, streams)])
