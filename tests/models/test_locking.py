"""The lock of the models folder, between threads and between programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stores import put
from trillama.base.errors import StoreError
from trillama.base.names import parse_name
from trillama.models import locking
from trillama.models import manifest as media
from trillama.models.locking import StoreLock
from trillama.models.store import ModelStore

OTHER = """
import sys
from pathlib import Path
from trillama.models.locking import StoreLock
with StoreLock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_another_program_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No manifest changes while another program prunes; one that never ends is an error."""
    store = ModelStore(tmp_path)
    put(store, "a", (media.SYSTEM, b"s"))
    monkeypatch.setattr(locking, "PATIENCE", 0.05)
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(StoreError, match="another program"):
            store.copy(parse_name("a"), parse_name("b"))
        with pytest.raises(StoreError, match="another program"):
            store.sweep()
        other.communicate()
    store.copy(parse_name("a"), parse_name("b"))
    assert store.sweep() == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Nothing is made by locking, and the lock opens again after an error."""
    lock = StoreLock(tmp_path / "none")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), lock:
            raise ZeroDivisionError
    assert not (tmp_path / "none").exists()
