"""Blobs: written whole or not at all, named by their content, shared where files can be."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from trillama import blobs
from trillama.base.errors import BadRequest, CorruptModel, NotFound, StoreError, StoreFull
from trillama.base.names import Digest
from trillama.blobs import Blob, BlobStore, Published, replace_file

DATA = b"weights " * 1000


def digest_of(data: bytes) -> Digest:
    """The digest these bytes must get."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    """An empty store in a folder that does not exist yet."""
    return BlobStore(tmp_path / "a" / "models")


def names(store: BlobStore) -> list[str]:
    """Everything in the blob folder."""
    return sorted(path.name for path in store.folder.iterdir())


def test_bytes_come_back(store: BlobStore) -> None:
    """What was published is found under its digest, readable by everyone."""
    digest = store.publish_bytes(DATA)
    assert digest == digest_of(DATA)
    assert store.exists(digest)
    assert store.size(digest) == len(DATA)
    assert store.read_bytes(digest, len(DATA)) == DATA
    assert store.path(digest).name == f"sha256-{hashlib.sha256(DATA).hexdigest()}"
    assert stat.S_IMODE(store.path(digest).stat().st_mode) == 0o644
    assert stat.S_IMODE(store.folder.stat().st_mode) & 0o700 == 0o700
    assert names(store) == [digest.file_name]
    assert store.statistics() == blobs.BlobStatistics(1, len(DATA))


def test_reading_is_capped(store: BlobStore) -> None:
    """A blob that claims to be small is not read into memory when it is not."""
    digest = store.publish_bytes(DATA)
    with pytest.raises(CorruptModel):
        store.read_bytes(digest, len(DATA) - 1)


def test_what_is_not_there_is_not_found(store: BlobStore) -> None:
    """Looking up creates nothing; a folder in a blob's place is no blob."""
    digest = digest_of(DATA)
    assert not store.exists(digest)
    with pytest.raises(NotFound):
        store.read_bytes(digest, 10)
    assert not store.folder.parent.exists()
    store.path(digest).mkdir(parents=True)
    assert not store.exists(digest)
    assert store.statistics().count == 0


def test_a_stage_that_is_left_leaves_nothing(store: BlobStore) -> None:
    """An upload that breaks off, or has another digest than promised, is never visible."""
    with store.stage() as stage:
        stage.write(b"half")
    assert names(store) == []
    with store.stage() as stage:
        stage.write(b"other")
        with pytest.raises(BadRequest, match="digest mismatch"):
            stage.commit(digest_of(DATA))
    assert names(store) == []
    with store.stage() as stage:
        stage.write(DATA[:100])
        stage.write(DATA[100:])
        assert stage.commit(digest_of(DATA)) == Blob(digest_of(DATA), len(DATA), Published.COPY)
    assert names(store) == [digest_of(DATA).file_name]


def test_publishing_again_renews_the_time(store: BlobStore) -> None:
    """A blob that is used again looks young, so that pruning spares it."""
    digest = store.publish_bytes(DATA)
    os.utime(store.path(digest), (1, 1))
    inode = store.path(digest).stat().st_ino
    assert store.publish_bytes(DATA) == digest
    assert store.path(digest).stat().st_mtime > 1
    assert store.path(digest).stat().st_ino == inode


def test_a_blob_of_the_wrong_size_is_healed(store: BlobStore) -> None:
    """A blob cut short by a crash of another program is replaced by the whole one."""
    digest = store.publish_bytes(DATA)
    store.path(digest).write_bytes(DATA[:10])
    store.publish_bytes(DATA)
    assert store.read_bytes(digest, len(DATA)) == DATA


def test_files_are_copied(store: BlobStore, tmp_path: Path) -> None:
    """A file is stored under its digest, the source stays, and the answer tells how."""
    source = tmp_path / "source.gguf"
    source.write_bytes(DATA)
    first = store.publish_file(source)
    assert (first.digest, first.size) == (digest_of(DATA), len(DATA))
    assert first.how in (Published.COPY, Published.REFLINK)
    assert store.publish_file(source).how is Published.PRESENT
    source.write_bytes(b"changed")
    assert store.read_bytes(first.digest, len(DATA)) == DATA
    assert names(store) == [first.digest.file_name]


def test_files_are_linked_when_allowed(store: BlobStore, tmp_path: Path) -> None:
    """With leave to link, no byte is copied on one file system."""
    source = tmp_path / "source.gguf"
    source.write_bytes(DATA)
    blob = store.publish_file(source, link=True)
    assert blob.how in (Published.HARDLINK, Published.REFLINK)
    assert store.read_bytes(blob.digest, len(DATA)) == DATA
    same_file = store.path(blob.digest).stat().st_ino == source.stat().st_ino
    assert same_file == (blob.how is Published.HARDLINK)
    assert names(store) == [blob.digest.file_name]


def test_only_regular_files_are_published(store: BlobStore, tmp_path: Path) -> None:
    """Folders, pipes and devices are refused at once; a missing file is NotFound."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, Path("/dev/zero")):
        with pytest.raises(BadRequest):
            store.publish_file(path)
    with pytest.raises(NotFound):
        store.publish_file(tmp_path / "none")


def test_a_full_disk_is_told_before_writing(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without room nothing is written, and the error says how much is missing."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, blobs.SPARE + 100))
    with pytest.raises(StoreFull, match="MiB are free"):
        store.publish_bytes(DATA)
    assert names(store) == []
    store.publish_bytes(b"x" * 100)


def test_the_order_is_write_sync_rename_sync(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is durable before its name exists, and the name before success is told."""
    store.publish_bytes(b"makes the folders")
    happened: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        happened.append("sync folder" if folder else "sync file")
        real_sync(descriptor)

    def replace(path: Path, target: Path) -> Path:
        happened.append("rename")
        return real_replace(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    store.publish_bytes(DATA)
    assert happened == ["sync file", "rename", "sync folder"]
    happened.clear()
    replace_file(store.folder / "x", b"1", staging=store.folder)
    assert happened == ["sync file", "rename", "sync folder"]


def test_many_writers_of_one_digest(store: BlobStore) -> None:
    """Racing writers all succeed and one whole blob remains."""
    results: list[Digest] = []
    gate = threading.Barrier(8)

    def write() -> None:
        gate.wait()
        with store.stage(len(DATA)) as stage:
            stage.write(DATA)
            results.append(stage.commit().digest)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [digest_of(DATA)] * 8
    assert names(store) == [digest_of(DATA).file_name]
    assert store.read_bytes(digest_of(DATA), len(DATA)) == DATA


def test_an_unwritable_place_is_a_store_error(tmp_path: Path) -> None:
    """What the system refuses is told as the store's trouble, naming the folder."""
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="models"):
        BlobStore(tmp_path / "models").publish_bytes(DATA)


def test_replaced_files_are_whole(tmp_path: Path) -> None:
    """A small file is replaced in one step and no temporary file stays."""
    target = tmp_path / "deep" / "er" / "file"
    replace_file(target, b"one", staging=tmp_path)
    replace_file(target, b"two", staging=tmp_path)
    assert target.read_bytes() == b"two"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep"]
