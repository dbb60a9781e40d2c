"""Tables and result files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench import report
from bench.report import Comparison, Run, Scenario, format_table, rows, shorten, write
from bench.stats import Reply, Summary, summarise
from bench.versus import Plan, make_loads


def summary(rate: float, ttft: float) -> Summary:
    return Summary(
        requests=4,
        errors=0,
        wrong_lengths=0,
        seconds=1.0,
        output_rate=rate,
        prompt_rate=rate,
        ttft_p50=ttft,
        ttft_p99=ttft,
        gap_p50=1.0,
        gap_p99=1.0,
        worst_gap=1.0,
        median_worst_gap=1.0,
        tokens_per_text=1.0,
        cached_share=0.0,
        client_cpu=0.0,
    )


def run(rate: float, ttft: float) -> Run:
    return Run(summary(rate, ttft), [], 1 << 20, 0.1)


def scenario() -> Scenario:
    ours = [run(20, 50), run(30, 100)]
    return Scenario("8 clients", 8, ours, [run(10, 100), run(10, 400)])


def test_above_one_always_means_ours_is_better() -> None:
    """Rates divide one way, times the other."""
    table = {row.title: row for row in rows(scenario())}

    assert table["output tokens/s"].better == pytest.approx(2.5)
    assert table["output tokens/s"].low == pytest.approx(2.0)
    assert table["first token p50, ms"].better == pytest.approx(3.0)
    assert table["token gap p50, ms"].better == pytest.approx(1.0)


def test_a_table_tells_what_makes_it_doubtful() -> None:
    """Errors and replies of another length stand under the figures."""
    doubtful = scenario()
    doubtful.theirs[1].summary.wrong_lengths = 3

    assert "!" not in format_table(scenario(), ("trillama", "equal"))
    assert "! equal, run 2: 0 errors and 3 replies" in format_table(doubtful, ("trillama", "equal"))


def test_a_written_comparison_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON file is the whole comparison; `keep` only changes its folder."""
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "plot", lambda comparison, path: None)
    comparison = Comparison(("a", "b"), ["--x"], {"cpu": "y"}, [scenario()])

    path = write(comparison, "versus-b", keep=True)

    assert path == tmp_path / "kept" / "versus-b.json"
    assert msgspec.json.decode(path.read_bytes(), type=Comparison) == comparison


def test_shortened_replies_start_at_nought() -> None:
    """Kept replies count from the first request and hold each stream's worst gap."""
    replies = [Reply(100.0, [101.0, 101.5, 103.0], 103.0, 5, 0, 3), Reply(100.5, [], 101.0)]
    first, second = shorten(replies)

    assert (first.sent, first.first_text, first.ended, first.worst_gap) == (0.0, 1.0, 3.0, 1.5)
    assert (second.sent, second.first_text, second.output_tokens) == (0.5, 1.0, 0)
    assert summarise(replies, (5, 3), 0.0).errors == 1


def test_every_client_has_room_and_no_server_more() -> None:
    """The pool of a scenario is the padded length of a request for each client."""
    loads = list(make_loads("1,16", 3, prompt_tokens=100, new_tokens=64, shared_prefix=800))
    plan = Plan(("a", "b"), Path("m.gguf"), 2, True, 5, loads)

    assert [load.requests for load in loads] == [3, 48]
    assert [plan.setup(load).context for load in loads] == [1024, 16 * 1024]
