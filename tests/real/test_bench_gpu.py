"""The stages for a GPU machine, rehearsed on a CPU with a toy in place of both models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu.results import load
from bench.gpu.tables import format_tables


def run_stages(work: Path, only: str) -> str:
    command = [sys.executable, "-m", "bench.gpu", "--binaries", str(work / "none")]
    command += ["--work", str(work), "--out", str(work), "--minutes", "2", "--shape", "toy"]
    done = subprocess.run([*command, "--only", only], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_stages_run_from_models_to_tables(tmp_path: Path) -> None:
    """A toy is made, probed and served under load; figures and gaps are both in the tables, and a
    second run measures nothing again."""
    said = run_stages(tmp_path, "shares,cycles,one_at_a_time")
    entries = load(tmp_path / "gpu.json").entries
    assert "A rehearsal" in said
    for name in ("model.toy", "probe.toy", "shares.8b", "cycles.1b"):
        assert entries[name].status == "done", entries[name].note
    assert entries["one_at_a_time.8b"].note == "FileNotFoundError: no llama-server in this build"
    shares = entries["shares.8b"].value
    assert 0 < shares["outside_share"] < 1
    assert shares["output_rate"] > 0
    assert len(entries["cycles.1b"].value["memory_mib"]) == 3

    again = run_stages(tmp_path, "shares")
    assert ": done in" not in again
    assert load(tmp_path / "gpu.json").entries["shares.8b"] == entries["shares.8b"]
    assert f"{shares['period_ms']:,.4f}" in format_tables(load(tmp_path / "gpu.json"))
