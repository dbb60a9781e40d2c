"""``fsck``: every kind of damage is found, named and, where that is safe, put aside."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from tests.support.gguf_bytes import small_model
from tests.support.stores import manifest_path, put
from trillama.base.names import Digest
from trillama.models import manifest as media
from trillama.models.housekeeping.check import Report, check_store
from trillama.models.manifest import Config, Manifest, manifest_bytes
from trillama.models.store import ModelStore

SYSTEM = b"You are shared."


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """Two models that share a text."""
    store = ModelStore(tmp_path / "models")
    put(store, "a", (media.MODEL, small_model()), (media.SYSTEM, SYSTEM), config=Config(os="linux"))
    put(store, "b", (media.SYSTEM, SYSTEM), config=Config(os="linux"))
    return store


def blob(store: ModelStore, name: str, kind: str) -> Path:
    """The file of a layer."""
    path = str(manifest_path(store, name))
    (layer,) = store.tree.read(path).manifest.of_type(kind)
    return store.blobs.path(layer.blob)


def kinds(report: Report) -> list[str]:
    """What is wrong, in a word each."""
    return [one.kind for one in report.problems]


def test_a_sound_store(store: ModelStore) -> None:
    """Nothing to tell, all counted; every byte is reported once."""
    told: list[int] = []
    report = check_store(store, advance=told.append)
    assert (report.sound, report.manifests, report.blobs) == (True, 2, 3)
    assert sum(told) == report.size == store.blobs.statistics().size


def test_an_empty_store(tmp_path: Path) -> None:
    """A folder that is not there is sound, and stays away."""
    assert check_store(ModelStore(tmp_path / "none")).sound
    assert not (tmp_path / "none").exists()


def test_a_damaged_blob(store: ModelStore) -> None:
    """One changed bit is found, whoever needs it is named, and nothing changes without a repair."""
    path = blob(store, "a", media.SYSTEM)
    path.write_bytes(SYSTEM[:-1] + b"!")
    report = check_store(store)
    (problem,) = report.problems
    assert (problem.kind, problem.models) == ("blob damaged", ("a:latest", "b:latest"))
    assert path.exists()
    assert not report.mended


def test_a_repair_puts_damage_aside(store: ModelStore) -> None:
    """The blob lies in the quarantine with its bytes; a writer of the digest mends the store."""
    path = blob(store, "a", media.SYSTEM)
    path.write_bytes(b"damaged")
    report = check_store(store, repair=True)
    assert report.mended
    assert (store.root / report.problems[0].moved).read_bytes() == b"damaged"
    assert not path.exists()
    again = check_store(store)
    assert kinds(again) == ["blob missing"]
    assert again.problems[0].models == ("a:latest", "b:latest")
    store.blobs.publish_bytes(SYSTEM)
    assert check_store(store).sound


def test_a_damaged_manifest(store: ModelStore) -> None:
    """A repair makes pruning possible again; the bytes are kept."""
    manifest_path(store, "b").write_bytes(b"{")
    assert kinds(check_store(store)) == ["manifest damaged"]
    report = check_store(store, repair=True)
    assert (store.root / report.problems[0].moved).read_bytes() == b"{"
    assert check_store(store).sound
    assert store.sweep() == []


def test_a_blob_that_nobody_needs_is_checked_too(store: ModelStore) -> None:
    """A later create would use it."""
    digest = store.blobs.publish_bytes(b"an upload")
    store.blobs.path(digest).write_bytes(b"an UPLOAD")
    (problem,) = check_store(store).problems
    assert (problem.kind, problem.models) == ("blob damaged", ())


def test_a_manifest_that_lies_about_sizes(store: ModelStore) -> None:
    """Reported and left: which of the two is right is not known."""
    path = manifest_path(store, "b")
    manifest = store.tree.read(str(path)).manifest
    layers = tuple(msgspec.structs.replace(one, size=one.size + 1) for one in manifest.layers or ())
    path.write_bytes(manifest_bytes(Manifest(config=manifest.config, layers=layers)))
    report = check_store(store, repair=True)
    assert kinds(report) == ["size differs"]
    assert not report.mended


def test_a_config_that_is_none(store: ModelStore) -> None:
    """The blob is what its name says, but nothing can be read from it."""
    put(store, "c", (media.CONFIG_TYPE, b"[]"))
    assert kinds(check_store(store)) == ["config damaged"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_left(store: ModelStore) -> None:
    """Want of permission is no damage."""
    path = blob(store, "a", media.MODEL)
    path.chmod(0)
    report = check_store(store, repair=True)
    assert kinds(report) == ["blob not allowed"]
    assert path.exists()


def test_what_is_no_file(store: ModelStore) -> None:
    """A pipe, a folder and a link that leads nowhere under a blob's name: no waiting, no crash."""
    folder = store.blobs.folder
    os.mkfifo(folder / Digest("sha256:" + "1" * 64).file_name)
    (folder / Digest("sha256:" + "2" * 64).file_name).mkdir()
    (folder / Digest("sha256:" + "3" * 64).file_name).symlink_to(folder / "nowhere")
    assert kinds(check_store(store)) == ["blob unreadable", "blob unreadable"]


def test_a_reference_that_changed(store: ModelStore, tmp_path: Path) -> None:
    """A repair takes the name out of the store; the user's own file is not touched."""
    own = tmp_path / "own.gguf"
    own.write_bytes(b"mine")
    taken = store.references.take(own)
    assert taken
    if store.blobs.path(taken.digest).stat().st_ino != own.stat().st_ino:
        pytest.skip("the file system shares blocks")
    own.write_bytes(b"ours")
    report = check_store(store, repair=True)
    assert kinds(report) == ["blob damaged"]
    assert own.read_bytes() == b"ours"
    assert not store.blobs.exists(taken.digest)


def test_files_of_somebody_else_are_no_damage(store: ModelStore) -> None:
    """No name leads to them."""
    (manifest_path(store, "a").parent / ".DS_Store").write_bytes(b"\0")
    (store.blobs.folder / "notes.txt").write_bytes(b"hello")
    assert check_store(store).sound
