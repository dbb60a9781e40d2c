"""Files that stay where they are: taken without a copy, and never used once they have changed."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.gguf_bytes import small_model
from tests.support.stores import manifest_path
from trillama.base.errors import BadRequest, CorruptModel, NotFound
from trillama.base.names import Digest, parse_name
from trillama.blobs import Published
from trillama.models.create import Recipe, create
from trillama.models.store import ModelStore

DATA = small_model()
DIGEST = Digest(f"sha256:{hashlib.sha256(DATA).hexdigest()}")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(tmp_path / "models")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A GGUF file of the user's."""
    path = tmp_path / "mine" / "w.gguf"
    path.parent.mkdir()
    path.write_bytes(DATA)
    return path


def refuse(*_: Any, **__: Any) -> None:
    """What a file system says that cannot."""
    raise OSError(95, "not supported")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source lies on another file system: neither blocks nor links can be shared."""
    monkeypatch.setattr(fcntl, "ioctl", refuse)
    monkeypatch.setattr(os, "link", refuse)


@pytest.fixture
def no_reflink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks cannot be shared."""
    monkeypatch.setattr(fcntl, "ioctl", refuse)


def model_of(store: ModelStore, digest: Digest) -> None:
    """Make ``x`` from the blob."""
    create(store, Recipe(name=parse_name("x"), files={"w.gguf": digest}), lambda line: None)


@pytest.mark.usefixtures("no_reflink")
def test_a_hard_link_before_a_reference(store: ModelStore, source: Path) -> None:
    """On one file system the file is linked; the model is there as if it had been copied."""
    blob = store.references.take(source)
    assert blob
    assert (blob.digest, blob.size, blob.how) == (DIGEST, len(DATA), Published.HARDLINK)
    assert store.blobs.path(DIGEST).stat().st_ino == source.stat().st_ino
    model_of(store, DIGEST)
    source.unlink()
    assert store.find("x").weights


@pytest.mark.usefixtures("elsewhere")
def test_a_reference_in_place(store: ModelStore, source: Path) -> None:
    """Elsewhere the blob is a link to the file; deleting the model leaves the file alone."""
    blob = store.references.take(source)
    assert blob
    assert blob.how is Published.REFERENCE
    assert store.blobs.path(DIGEST).is_symlink()
    again = store.references.take(source)
    assert again
    assert again.how is Published.PRESENT
    model_of(store, DIGEST)
    assert store.find("x").size > len(DATA)
    store.delete(parse_name("x"))
    assert source.read_bytes() == DATA
    assert store.blobs.entries() == []
    assert list(store.references.folder.iterdir()) == []


@pytest.mark.parametrize("how", ["no_reflink", "elsewhere"])
def test_a_changed_file_is_never_used(
    store: ModelStore, source: Path, how: str, request: pytest.FixtureRequest
) -> None:
    """A model whose file was written into says so, by name; it works again once it is undone."""
    request.getfixturevalue(how)
    assert store.references.take(source)
    model_of(store, DIGEST)
    with source.open("r+b") as file:
        file.write(b"GGXF")
    with pytest.raises(CorruptModel, match="has changed since"):
        store.find("x")
    assert [one.name.short for one in store.installed()] == ["x:latest"]
    with source.open("r+b") as file:
        file.write(DATA)
    assert store.find("x")


@pytest.mark.parametrize("how", ["no_reflink", "elsewhere"])
def test_what_has_changed_is_replaced_by_what_it_was(
    store: ModelStore, source: Path, how: str, request: pytest.FixtureRequest
) -> None:
    """Creating the model again, from a copy of the file, mends it; so do an upload and a pull.
    The user's changed file stays as it is."""
    request.getfixturevalue(how)
    assert store.references.take(source)
    model_of(store, DIGEST)
    copy = source.with_name("copy.gguf")
    copy.write_bytes(DATA)
    with source.open("r+b") as file:
        file.write(b"GGXF")
    changed = source.read_bytes()
    assert not store.blobs.touch(DIGEST)
    assert not store.blobs.use(DIGEST, len(DATA))
    blob = store.references.take(copy)
    assert blob
    assert blob.how is not Published.PRESENT
    assert store.find("x")
    assert source.read_bytes() == changed


@pytest.mark.usefixtures("elsewhere")
def test_a_file_is_read_again_only_when_it_may_have_changed(
    store: ModelStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking a model up costs a look at the file, not reading it."""
    assert store.references.take(source)
    model_of(store, DIGEST)
    store.find("x")
    hashed: list[str] = []
    real = hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda file, name: (hashed.append(name), real(file, name))[1]
    )
    store.find("x")
    assert hashed == []
    os.utime(source)
    for _ in range(2):
        store.find("x")
    assert hashed == ["sha256"]


@pytest.mark.usefixtures("elsewhere")
def test_a_file_that_is_gone_is_named(store: ModelStore, source: Path) -> None:
    """The model is not found, and whoever asks hears why."""
    assert store.references.take(source)
    model_of(store, DIGEST)
    source.unlink()
    with pytest.raises(NotFound, match="missing"):
        store.find("x")
    store.delete(parse_name("x"))
    assert not manifest_path(store, "x").exists()


def test_only_regular_files(store: ModelStore, tmp_path: Path) -> None:
    """Folders, pipes and devices are refused at once."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, Path("/dev/zero")):
        with pytest.raises(BadRequest):
            store.references.take(path)
    with pytest.raises(NotFound):
        store.references.take(tmp_path / "none")


@pytest.mark.usefixtures("elsewhere")
def test_a_damaged_record_is_no_proof(store: ModelStore, source: Path) -> None:
    """Without a record that can be read, the file itself is."""
    assert store.references.take(source)
    model_of(store, DIGEST)
    (store.references.folder / DIGEST.file_name).write_text("{")
    assert store.find("x")
    (store.references.folder / DIGEST.file_name).write_text("{")
    with source.open("r+b") as file:
        file.write(b"GGXF")
    with pytest.raises(CorruptModel):
        store.find("x")


def test_touching_leaves_the_owners_times_alone(store: ModelStore, source: Path) -> None:
    """A linked file keeps the time its owner sees."""
    os.utime(source, (1, 1))
    store.blobs.folder.mkdir(parents=True)
    os.link(source, store.blobs.path(DIGEST))
    assert store.blobs.touch(DIGEST)
    assert source.stat().st_mtime == 1
