"""``prune``, ``du`` and ``fsck`` as people and programs read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.stores import put
from trillama.base.errors import BadRequest, CorruptModel
from trillama.commands.housekeeping import DAMAGED, MENDED, SOUND, du, fsck, prune
from trillama.models import manifest as media
from trillama.models.manifest import Config
from trillama.models.store import ModelStore


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A model, an old orphan of 1000 bytes, and half a download of yesterday."""
    store = ModelStore(tmp_path / "models")
    put(store, "a", (media.SYSTEM, b"needed"), config=Config())
    orphan = store.blobs.path(store.blobs.publish_bytes(b"o" * 1000))
    partial = store.blobs.folder / f"sha256-{'a' * 64}-partial"
    partial.write_bytes(b"half")
    then = time.time() - 24 * 3600
    for path in (orphan, partial):
        os.utime(path, (then, then))
    return store


def test_prune_says_what_it_did(store: ModelStore) -> None:
    """A dry run tells the same as the run, and touches nothing."""
    promised = json.loads(prune(store, dry_run=True, json=True))
    assert (promised["freed"], len(promised["files"])) == (1000, 1)
    text = prune(store)
    assert text.endswith("1 file removed, 1 KB freed\n")
    assert prune(store) == "0 files removed, 0 B freed\n"
    assert "would be removed" in prune(store, older="1h", dry_run=True)
    assert "download" in prune(store, older="1h")
    assert store.find("a").system == "needed"


def test_prune_refuses(store: ModelStore) -> None:
    """No duration; and anything while a manifest is unreadable, which is named."""
    with pytest.raises(BadRequest):
        prune(store, older="soon")
    put(store, "b").write_bytes(b"{")
    with pytest.raises(CorruptModel, match=r"^manifests/.*: the manifest is not valid"):
        prune(store)


def test_du(store: ModelStore) -> None:
    """A row a model, and what is there besides."""
    lines = du(store).splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "OWN", "SHARED", "ELSEWHERE"]
    assert lines[1].split()[0] == "a:latest"
    assert "1 KB in blobs that no model needs (trillama prune)" in lines
    assert json.loads(du(store, json=True))["unreferenced"] == 1000


def test_fsck_and_its_status(store: ModelStore) -> None:
    """0 for sound, 4 for damage, 2 once it is put aside; the cure is named."""
    assert fsck(store)[1] == SOUND
    (layer,) = store.find("a").manifest.of_type(media.SYSTEM)
    store.blobs.path(layer.blob).write_bytes(b"NEEDED")
    text, status = fsck(store)
    assert status == DAMAGED
    assert "to mend it: trillama pull a:latest" in text
    record, status = fsck(store, repair=True, json=True)
    assert status == MENDED
    assert json.loads(record)["report"]["problems"][0]["kind"] == "blob damaged"


def test_the_commands_themselves(store: ModelStore) -> None:
    """Without a server; the status is that of the process."""
    environment = os.environ | {"TRILLAMA_MODELS": str(store.root)}

    def run(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "trillama", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=environment, check=False
        )
        return done.returncode, done.stdout

    assert "a:latest" in run("du")[1]
    assert run("fsck", "--json")[0] == SOUND
    put(store, "b").write_bytes(b"{")
    assert run("fsck")[0] == DAMAGED
    assert run("prune")[0] == 1
