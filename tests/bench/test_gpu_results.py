"""Results survive the end of a machine, and say what is missing."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.gpu.measures import Tools, share_of_steps
from bench.gpu.plan import GPU_SIZES, Models, Plan
from bench.gpu.prune import keep_block_types, kept_instances
from bench.gpu.results import Entry, Ledger, Record, load
from bench.gpu.tables import BEGIN, END, Claim, Figures, claims, format_tables, replace_block


def ledger(path: Path, seconds: float = 60) -> Ledger:
    return Ledger(path / "gpu.json", time.monotonic() + seconds)


def test_every_measurement_is_on_disk_at_once(tmp_path: Path) -> None:
    """What was measured before the machine went away is there."""
    book = ledger(tmp_path)
    book.take("a", 1, lambda: {"rate": 2.0})
    assert load(tmp_path / "gpu.json").entries["a"].value == {"rate": 2.0}


def test_a_copy_follows_every_change(tmp_path: Path) -> None:
    """Where the file lies for the next run and where it is fetched from are two places."""
    copy = tmp_path / "out.json"
    book = Ledger(tmp_path / "gpu.json", time.monotonic() + 60, copy)
    book.take("a", 1, lambda: 1)
    assert load(copy).entries == load(tmp_path / "gpu.json").entries


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    """A stage that runs again goes on where the file stops; a failure is tried again."""
    ledger(tmp_path).take("a", 1, lambda: 1)
    ledger(tmp_path).take("b", 1, lambda: 1 / 0)
    again = ledger(tmp_path)
    assert again.take("a", 1, lambda: 2)
    assert again.take("b", 1, lambda: 2)
    assert (again.value("a"), again.value("b")) == (1, 2)


def test_trouble_ends_one_measurement(tmp_path: Path) -> None:
    """An exception is written down with its words and goes no further."""

    def broken() -> Any:
        raise RuntimeError("no kernel")

    book = ledger(tmp_path)
    assert not book.take("a", 1, broken)
    entry = book.record.entries["a"]
    assert (entry.status, entry.note) == ("failed", "RuntimeError: no kernel")


def test_nothing_is_begun_that_outlasts_the_time(tmp_path: Path) -> None:
    """A measurement too long for what is left is skipped, a shorter one is taken."""
    book = ledger(tmp_path, seconds=20)
    assert not book.take("long", 30, lambda: 1)
    assert book.take("short", 1, lambda: 1)
    assert book.record.entries["long"].status == "skipped"


def run(clients: int, rate: float) -> dict[str, Any]:
    latencies = {"ttft_p50": 9.0, "gap_p50": 4.0, "gap_p99": 5.0, "wrong_lengths": 0, "errors": 0}
    return {"clients": clients, "output_rate": rate} | latencies


def record(**values: Any) -> Record:
    entries = {
        name.replace("__", "."): Entry("done", 1, 0, value) for name, value in values.items()
    }
    return Record({}, entries)


def test_pairs_are_compared_by_their_medians() -> None:
    """The ratio of a claim is that of the medians over all pairs."""
    found = record(
        ours__8b__1={"loads": [run(64, 300.0)]}, ours__8b__2={"loads": [run(64, 500.0)]},
        rival__8b__1__64={"loads": [run(64, 200.0)]},
    )  # fmt: skip
    claim = [c for c in claims(Figures(found)) if c.text.startswith("8B, 64 clients: output")]
    assert [c.measured for c in claim] == [2.0]
    assert claim[0].verdict == "held"


def test_variants_do_not_count_as_the_main_runs() -> None:
    """Runs with another budget, cache or model stay out of the medians."""
    found = record(
        ours__8b__1={"loads": [run(64, 300.0)]}, ours_budget_off__8b={"loads": [run(64, 9.0)]},
        ours__1b__1={"loads": [run(64, 9.0)]}, rival_unified__8b__64={"loads": [run(64, 9.0)]},
    )  # fmt: skip
    figures = Figures(found)
    assert figures.median("ours.8b.", 64) == 300.0
    assert math.isnan(figures.median("rival.8b.", 64))


def test_nothing_measured_is_said_everywhere() -> None:
    """An empty record claims nothing."""
    verdicts = {claim.verdict for claim in claims(Figures(Record()))}
    assert verdicts == {"not measured"}
    assert "not measured" in format_tables(Record())


@pytest.mark.parametrize(("value", "at_most", "verdict"), [
    (1.5, False, "held"), (1.49, False, "**not held**"), (1.5, True, "held"),
    (1.51, True, "**not held**"), (math.nan, True, "not measured"),
])  # fmt: skip
def test_a_bound_itself_is_still_held(value: float, at_most: bool, verdict: str) -> None:
    """Bounds include their own value, in both directions."""
    assert Claim("x", value, 1.5, at_most).verdict == verdict


def test_the_page_keeps_what_stands_around_the_tables() -> None:
    """Only the block between the markers is replaced, whatever is in it."""
    page = f"a\n{BEGIN}\nold\n{END}\nb\n"
    assert replace_block(page, r"n\1w") == f"a\n{BEGIN}\nn\\1w\n{END}\nb\n"
    with pytest.raises(ValueError, match="no place"):
        replace_block("a", "b")


def test_names_of_measurements_are_unique_and_enough(tmp_path: Path) -> None:
    """No measurement overwrites another, and each claim has one that feeds it."""
    models = Models(tmp_path / "8b", tmp_path / "1b", {"8b-q4": tmp_path / "8b-q4"})
    plan = Plan(models, GPU_SIZES, Tools(tmp_path, 8))
    names = [one.name for one in plan.measurements()]
    assert len(names) == len(set(names))
    fed = {"ours.8b.1", "rival.8b.1.1", "rival.8b.1.8", "rival.8b.1.64", "rival.1b.1.64"}
    fed |= {"ceiling.8b.split", "shares.8b", "one_at_a_time.8b", "stall.8b.trillama"}
    fed |= {"ours.1b.1", "cycles.1b", "read_against_load.8b"}
    fed |= {"ours_pool.8b", "shares_pool.8b", "ranks.8b", "weights.8b-q4"}
    assert fed <= set(names)


def test_shares_stand_beside_those_of_the_pool() -> None:
    """The layouts are compared row by row; what was not measured stays open."""
    both = format_tables(record(shares__8b={"step_ms": 9.0}, shares_pool__8b={"step_ms": 12.0}))
    assert "| step_ms | 9.0000 | 12.0000 |" in both
    alone = format_tables(record(shares__8b={"step_ms": 9.0}))
    assert "| step_ms | 9.0000 | – |" in alone


def test_other_weights_stand_below_the_main_ones() -> None:
    """By their block types, the main model first; one without a run is left out."""
    rows = [{"pl": 1, "speed_tg": 200.0}, {"pl": 64, "speed_tg": 6000.0, "speed_pp": 9000.0}]
    text = format_tables(
        record(
            ours__8b__1={"loads": [run(64, 3000.0)]}, ceiling__8b__split=rows,
            **{"weights__8b-f16": {"loads": [run(64, 4000.0)], "ceiling": rows}},
        )
    )  # fmt: skip
    assert "| Q8_0 | 200 | 6,000 | 9,000 | 3,000 |\n| F16 | 200 | 6,000 | 9,000 | 4,000 |" in text
    assert "| Q4_K |" not in text


def test_only_full_steps_are_shared_out() -> None:
    """Steps with a prompt in them, few rows, or after a pause say nothing about a full step."""
    ms = 1_000_000
    full = [64, 0, 6 * ms, 2 * ms, 9 * ms, 10 * ms, 0.5 * ms, 0, 0.2 * ms]
    rest = [0, 0, 0]
    others = [[64, 32, ms, ms, ms, ms], [3, 0, ms, ms, ms, ms], [64, 0, ms, ms, ms, 0]]
    found = share_of_steps(
        np.array([full, full, *(other + rest for other in others)], np.float64), 64
    )
    assert found["steps"] == 2
    assert found["outside_share"] == pytest.approx(0.2)
    assert found["between_share"] == pytest.approx(0.1)
    assert found["sampling_ms"] + found["plan_ms"] + found["book_ms"] == pytest.approx(1)


MMQ, MMA, VEC = "mmq-instance-q4_k", "fattn-mma-f16-instance-ncols1_8-ncols2_4", "fattn-vec-x"


@pytest.mark.parametrize(("name", "text", "kept"), [
    (MMQ, "DECL_MMQ_CASE(GGML_TYPE_Q4_K);\n", "DECL_MMQ_CASE(GGML_TYPE_Q4_K);\n"),
    ("mmq-instance-iq1_s", "DECL_MMQ_CASE(GGML_TYPE_IQ1_S);\n", ""),
    (MMA, "DECL_FATTN_MMA_F16_CASE(128, 128, 8, 4);\nDECL_FATTN_MMA_F16_CASE(96, 96, 8, 4);\n",
     "DECL_FATTN_MMA_F16_CASE(128, 128, 8, 4);\n"),
    (MMA, "DECL_FATTN_MMA_F16_CASE(576, 512, 8, 4);\n", ""),
    (MMA.replace("ncols2_4", "ncols2_8"), "DECL_FATTN_MMA_F16_CASE(128, 128, 8, 8);\n", ""),
    (VEC, "DECL_FATTN_VEC_CASE( 64, F16, F16);\nDECL_FATTN_VEC_CASE(256, F16, F16);\n",
     "DECL_FATTN_VEC_CASE( 64, F16, F16);\n"),
    ("mmf-instance-ncols_3", "DECL_MMF_CASE(3);\n", "DECL_MMF_CASE(3);\n"),
])  # fmt: skip
def test_only_instances_of_the_tables_are_compiled(name: str, text: str, kept: str) -> None:
    """Head sizes 64 and 128, three block types, groups of 4, 2 and 1 query heads stay."""
    assert kept_instances(name, text) == kept


def test_a_switch_loses_only_unused_types() -> None:
    """Cases of other block types go, with all their lines; the default stays."""
    case = (
        "        case GGML_TYPE_{0}:\n"
        "            mul_mat_vec_q_switch_ncols_dst<GGML_TYPE_{0}>\n"
        "                (x);\n            break;\n"
    )
    text = case.format("Q4_K") + case.format("IQ2_XS") + case.format("Q8_0") + "        default:\n"
    assert keep_block_types(text) == text.replace(case.format("IQ2_XS"), "")
