"""What is cleared away at a start, and what never is."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from tests.support.stores import put
from trillama.base.names import Digest
from trillama.models import manifest as media
from trillama.models.manifest import Config
from trillama.models.pruning import mend_names
from trillama.models.store import ModelStore

HOUR = 3600


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store with one model."""
    store = ModelStore(tmp_path / "models")
    put(store, "a", (media.SYSTEM, b"needed"), config=Config(os="linux"))
    return store


def age(path: Path, seconds: float) -> None:
    """Make a file look old."""
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def grow_old(store: ModelStore) -> None:
    """Make everything look two hours old."""
    for entry in store.blobs.entries():
        age(Path(entry.path), 2 * HOUR)


def names(store: ModelStore) -> set[str]:
    """What lies in the blobs folder."""
    return {entry.name for entry in store.blobs.entries()}


def test_what_no_model_needs_goes_after_an_hour(store: ModelStore) -> None:
    """Old orphans and temporary files go; needed blobs, young files and folders stay."""
    needed = names(store)
    store.blobs.publish_bytes(b"orphan")
    (store.blobs.folder / "sha256-123").write_bytes(b"temporary")
    (store.blobs.folder / "folder").mkdir()
    grow_old(store)
    young = store.blobs.publish_bytes(b"an upload before its create")
    assert store.prune() == 2
    assert names(store) == needed | {young.file_name, "folder"}


def test_a_blob_that_is_used_again_looks_young(store: ModelStore) -> None:
    """An upload that was there already is not cleared away before its create."""
    digest = store.blobs.publish_bytes(b"orphan")
    grow_old(store)
    assert store.blobs.touch(digest)
    assert store.prune() == 0


def test_what_is_held_stays(store: ModelStore) -> None:
    """An operation in progress keeps its blobs, however old they are."""
    digest = store.blobs.publish_bytes(b"orphan")
    grow_old(store)
    with store.holds.hold() as hold:
        hold.add(digest)
        assert store.prune() == 0
    assert store.prune() == 1


def test_partial_downloads_last_a_week(store: ModelStore) -> None:
    """A pull that broke off on Friday goes on on Monday."""
    partial = store.blobs.folder / ("sha256-" + "a" * 64 + "-partial")
    partial.write_bytes(b"half")
    age(partial, 3 * 24 * HOUR)
    assert store.prune() == 0
    age(partial, 8 * 24 * HOUR)
    assert store.prune() == 1


def test_a_download_in_another_process_stays(store: ModelStore) -> None:
    """Whatever its age, it and the records of its parts; a record without data goes."""
    name, other = (f"sha256-{letter * 64}-partial" for letter in "ab")
    files = [store.blobs.folder / one for one in (name, f"{name}-0", f"{other}-0")]
    for path in files:
        path.write_bytes(b"half")
        age(path, 10)
    with files[0].open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        gone = store.sweep(partial_grace=0)
    assert [one.file for one in gone] == [f"blobs/{files[2].name}"]
    assert len(store.sweep(partial_grace=0)) == 2


def test_a_dry_run_only_looks(store: ModelStore) -> None:
    """It tells what would go, and how much; a hard link of somebody's file frees nothing."""
    digest = store.blobs.publish_bytes(b"orphan")
    grow_old(store)
    (found,) = store.sweep(dry_run=True)
    assert (found.file, found.kind, found.size) == (f"blobs/{digest.file_name}", "blob", 6)
    assert store.sweep() == [found]


def test_temporary_files_of_other_folders_go(store: ModelStore) -> None:
    """What a crash left while a manifest was written."""
    left = store.root / "manifests" / ".trillama-1"
    left.write_bytes(b"{")
    assert store.prune() == 0
    age(left, 2 * HOUR)
    assert store.prune() == 1


def test_nothing_goes_while_a_manifest_is_unreadable(store: ModelStore) -> None:
    """It may need any blob. A stray file that no name leads to is no such manifest."""
    store.blobs.publish_bytes(b"orphan")
    grow_old(store)
    broken = put(store, "b")
    broken.write_bytes(b"{")
    assert store.prune() == 0
    broken.unlink()
    (broken.parent / ".DS_Store").write_bytes(b"\0")
    assert store.prune() == 1


def test_the_names_of_old_stores_are_mended(store: ModelStore) -> None:
    """Blobs named with a colon, whole and partial, are found again."""
    digest = store.blobs.publish_bytes(b"old")
    folder = store.blobs.folder
    (folder / digest.file_name).rename(folder / digest)
    (folder / f"sha256:{'b' * 64}-partial").write_bytes(b"half")
    assert mend_names(store.blobs) == 2
    assert store.blobs.exists(Digest(digest))
    assert f"sha256-{'b' * 64}-partial" in names(store)
    assert mend_names(store.blobs) == 0
