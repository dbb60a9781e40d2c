"""The arithmetic of the tables, on replies simple enough to check by hand."""

from __future__ import annotations

import math

import pytest

from bench.stats import Reply, gaps, percentile, ratio, summarise


def reply(sent: float, *texts: float, tokens: tuple[int, int] = (100, 3)) -> Reply:
    prompt, output = tokens
    return Reply(sent, list(texts), texts[-1], prompt_tokens=prompt, output_tokens=output)


def test_a_summary_counts_from_first_request_to_last_byte() -> None:
    """Rates are tokens of all streams over the wall time of the whole load."""
    summary = summarise(
        [reply(10.0, 11.0, 11.5, 12.0), reply(10.5, 12.5, 13.0, 14.0)], (100, 3), 1.0
    )

    assert summary.seconds == pytest.approx(4.0)
    assert summary.output_rate == pytest.approx(6 / 4)
    assert summary.prompt_rate == pytest.approx(200 / 4)
    assert summary.client_cpu == pytest.approx(0.25)
    assert (summary.requests, summary.errors, summary.wrong_lengths) == (2, 0, 0)


def test_times_are_per_stream_and_in_milliseconds() -> None:
    """First-token times and gaps never mix two streams."""
    summary = summarise([reply(0.0, 1.0, 1.1, 1.2), reply(0.0, 2.0, 2.1, 2.5)], (100, 3), 0.0)

    assert summary.ttft_p50 == pytest.approx(1500)
    assert summary.gap_p50 == pytest.approx(100)
    assert summary.worst_gap == pytest.approx(400)
    assert summary.median_worst_gap == pytest.approx(250)
    assert summary.tokens_per_text == pytest.approx(1.0)


def test_replies_of_another_length_are_counted() -> None:
    """A server that stops early, or counts another prompt, cannot look fast unnoticed."""
    replies = [reply(0, 1, 2, tokens=(100, 2)), reply(0, 1, 2, tokens=(99, 3)), reply(0, 1, 2)]

    assert summarise(replies, (100, 3), 0.0).wrong_lengths == 2
    assert summarise(replies, (0, 3), 0.0).wrong_lengths == 1


def test_failed_replies_add_errors_and_no_tokens() -> None:
    """An error, or a reply without text, is an error in the table."""
    failed = Reply(0.0, [], 4.0, error="503")
    silent = Reply(0.0, [], 1.0, output_tokens=3)

    summary = summarise([reply(0.0, 1.0, 2.0), failed, silent], (100, 3), 0.0)

    assert summary.errors == 2
    assert summary.output_rate == pytest.approx(3 / 4)


def test_a_load_where_all_failed_still_has_a_summary() -> None:
    """Nothing to measure gives NaN, not a crash in the middle of a long comparison."""
    summary = summarise([Reply(0.0, [], 1.0, error="x")], (100, 3), 0.0)

    assert summary.errors == 1
    assert summary.output_rate == 0
    assert math.isnan(summary.worst_gap)


def test_the_ratio_is_the_median_of_the_pairs() -> None:
    """One disturbed pair does not move the verdict, and slow drift of both cancels out."""
    assert ratio([10, 20, 300], [5, 10, 1]) == pytest.approx(2.0)


def test_gaps_and_percentiles_of_little() -> None:
    """One text has no gap; the percentile of nothing is NaN."""
    assert gaps(reply(0.0, 1.0)) == []
    assert math.isnan(percentile([], 50))
    assert percentile([1.0, 2.0, 3.0, 4.0, 5.0], 50) == 3.0
