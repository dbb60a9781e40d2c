"""The bundled model is there on a first run, stays current, and never displaces another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.gguf_bytes import small_model
from trillama.base.errors import CorruptModel, StoreError
from trillama.base.names import parse_name, parse_reference
from trillama.blobs import BlobStore
from trillama.models import bundled
from trillama.models.bundled import ensure_bundled
from trillama.models.create import Recipe, create
from trillama.models.installed import InstalledModel
from trillama.models.store import ModelStore
from trillama.models.validation import validate_weights


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(tmp_path / "models")


def package_file(folder: Path, context: int = 64) -> Path:
    """A file such as the package brings."""
    path = folder / "bundle.gguf"
    path.write_bytes(small_model(llama__context_length=context))
    path.with_suffix(".LICENSE").write_text("MIT, really")
    return path


def lent(store: ModelStore, source: Path, monkeypatch: pytest.MonkeyPatch) -> InstalledModel | None:
    """The bundled model, where the store cannot be written to."""

    def refuse(self: BlobStore, source: Path, *, link: bool = False) -> None:
        raise StoreError("read-only")

    monkeypatch.setattr(BlobStore, "publish_file", refuse)
    return ensure_bundled(store, source)


def test_the_model_is_there_after_the_first_call(store: ModelStore, tmp_path: Path) -> None:
    """It is complete: weights, parameters and a license; a second call writes nothing."""
    source = package_file(tmp_path)
    model = ensure_bundled(store, source)
    assert model is not None
    assert model.name.short == "tiny:latest"
    assert model.parameters["stop"] == ["<|im_start|>", "<|im_end|>"]
    assert store.licenses(model) == ["MIT, really"]
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    assert ensure_bundled(ModelStore(store.root), source) == model
    assert before == {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}


def test_a_newer_package_brings_its_model(store: ModelStore, tmp_path: Path) -> None:
    """New weights of the same size replace the bundled ones."""
    ensure_bundled(store, package_file(tmp_path, 64))
    ensure_bundled(store, package_file(tmp_path, 96))
    assert store.find("tiny").details.context_length == 96


def test_somebody_elses_model_of_that_name_stays(store: ModelStore, tmp_path: Path) -> None:
    """A tiny:latest that was not bundled is left alone."""
    theirs = tmp_path / "theirs.gguf"
    theirs.write_bytes(small_model(llama__context_length=1234))
    store.import_gguf(theirs, "tiny")
    model = ensure_bundled(store, package_file(tmp_path))
    assert model is not None
    assert model.details.context_length == 1234


def test_a_damaged_manifest_is_renewed(store: ModelStore, tmp_path: Path) -> None:
    """Damage to the bundled model does not outlive a start."""
    source = package_file(tmp_path)
    ensure_bundled(store, source)
    next(path for path in (store.root / "manifests").rglob("*") if path.is_file()).write_bytes(b"")
    assert ensure_bundled(ModelStore(store.root), source) is not None
    assert store.find("tiny").details.context_length == 64


def test_a_store_that_cannot_be_written(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is served from the package, listed and found like any other."""
    source = package_file(tmp_path)
    model = lent(store, source, monkeypatch)
    assert model is not None
    assert model.weights == source
    assert store.find("TINY") == model
    assert store.installed() == [model]
    assert not (store.root / "manifests").exists()


def test_what_is_served_from_the_package_can_only_be_used(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy, a delete or a model made from it says so, and never that it was done."""
    lent(store, package_file(tmp_path), monkeypatch)
    mine = parse_name("mine")
    recipe = Recipe(name=mine, base=parse_reference("tiny"))
    for work in (
        lambda: store.copy(parse_name("tiny"), mine),
        lambda: store.delete(parse_name("tiny")),
        lambda: create(store, recipe, lambda line: None),
    ):
        with pytest.raises(StoreError, match="can only be used"):
            work()
    assert [model.name.short for model in store.installed()] == ["tiny:latest"]


def test_a_damaged_bundle_is_told(store: ModelStore, tmp_path: Path) -> None:
    """A package file that was cut short is an error, not a model."""
    source = package_file(tmp_path)
    os.truncate(source, 500)
    with pytest.raises(CorruptModel):
        ensure_bundled(store, source)


def test_without_a_bundle_nothing_happens(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation without the file works all the same."""
    monkeypatch.setattr(bundled, "bundled_file", lambda: None)
    assert ensure_bundled(store) is None
    assert store.installed() == []


def test_once_deleted_it_stays_away(store: ModelStore, tmp_path: Path) -> None:
    """A start does not bring back what somebody removed; another model of that name may come."""
    source = package_file(tmp_path)
    ensure_bundled(store, source)
    store.delete(parse_name("tiny"))
    assert ensure_bundled(ModelStore(store.root), source) is None
    assert store.installed() == []
    store.import_gguf(source, "tiny")
    store.delete(parse_name("tiny"))
    store.unwanted.unlink()
    assert ensure_bundled(store, source) is not None


def test_the_real_bundle_is_sound(tiny_model_path: Path) -> None:
    """What the package brings passes every check."""
    assert validate_weights(tiny_model_path).architecture == "qwen3"
    assert bundled.bundled_file() == tiny_model_path


def test_the_real_bundle_comes_in_whole(store: ModelStore, tiny_model_path: Path) -> None:
    """The package's model can chat, call tools, think and fill in, and brings its licence."""
    model = ensure_bundled(store)
    assert model is not None
    assert set(model.capabilities) == {"completion", "tools", "thinking", "insert"}
    assert model.details.quantization_level == "Q8_0"
    assert "MIT" in store.licenses(model)[0]
