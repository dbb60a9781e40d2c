"""A process that is killed in the middle of a create, copy or delete leaves a sound store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_kill_at_any_moment_leaves_a_sound_store(tmp_path: Path) -> None:
    """Whatever call to the disk comes last: every manifest that is there is whole and has its
    blobs, every blob is what its name says, and the next create works."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.crashes", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert report.pop("damage") == []
    assert set(report) == {"creates", "replaces", "copies", "deletes"}
    assert min(report.values()) >= 3, "there were fewer moments than there must be"
