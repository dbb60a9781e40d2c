"""Trouble in the middle of a create, copy, delete, prune or import leaves a sound store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

WORK = {"creates", "replaces", "copies", "deletes", "prunes", "imports"}


@pytest.mark.parametrize("trouble", ["kill", "full", "broken"])
def test_trouble_at_any_moment_leaves_a_sound_store(tmp_path: Path, trouble: str) -> None:
    """Whatever call to the disk it meets, a kill, a full disk or a broken one: every manifest that
    is there is whole and has its blobs, every blob is what its name says, no finished blob that is
    still wanted is lost, the next create works,
    and who was at work heard of it in our own words."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.crashes", str(tmp_path), trouble],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert report.pop("damage") == [], done.stderr
    assert set(report) == WORK
    for ends in report.values():
        assert ends["untouched"] == 1
        assert sum(ends.values()) > 5, "there were fewer moments than there must be"
        assert trouble != "kill" or set(ends) == {"killed", "untouched"}
