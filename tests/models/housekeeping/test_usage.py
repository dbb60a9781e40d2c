"""``du``: sums that add up."""

from __future__ import annotations

from pathlib import Path

from tests.support.stores import manifest_path, put
from trillama.models import manifest as media
from trillama.models.housekeeping.usage import ModelUsage, disk_usage
from trillama.models.store import ModelStore


def test_own_and_shared_bytes(tmp_path: Path) -> None:
    """What two models share counts once in the total; own bytes are what a removal frees."""
    store = ModelStore(tmp_path)
    put(store, "a", (media.SYSTEM, b"s" * 100), (media.LICENSE, b"a" * 10))
    put(store, "b", (media.SYSTEM, b"s" * 100), (media.LICENSE, b"s" * 100))
    orphan = store.blobs.publish_bytes(b"o" * 7)
    store.blobs.path(orphan).with_name(f"{orphan.file_name}-partial").write_bytes(b"p" * 5)
    usage = disk_usage(store)
    assert usage.models == (
        ModelUsage("a:latest", size=110, own=10, shared=100, elsewhere=0, missing=0),
        ModelUsage("b:latest", size=100, own=0, shared=100, elsewhere=0, missing=0),
    )
    assert (usage.total, usage.unreferenced) == (110, 7)
    assert 0 <= usage.downloads <= 5

    before = store.blobs.statistics().size
    store.delete(store.find("a").name)
    assert before - store.blobs.statistics().size == 10


def test_what_lies_elsewhere_costs_nothing(tmp_path: Path) -> None:
    """A hard link or a reference is not the store's."""
    store = ModelStore(tmp_path / "models")
    put(store, "a", (media.SYSTEM, b"s" * 100))
    (path,) = [Path(one.path) for one in store.blobs.entries()]
    (tmp_path / "own").hardlink_to(path)
    (model,) = disk_usage(store).models
    assert (model.size, model.own, model.elsewhere) == (100, 0, 100)
    assert disk_usage(store).total == 0


def test_trouble_is_told(tmp_path: Path) -> None:
    """Missing blobs are counted, unreadable manifests named; neither hides the rest."""
    store = ModelStore(tmp_path)
    put(store, "a", (media.SYSTEM, b"s"))
    put(store, "b").write_bytes(b"{")
    (path,) = [Path(one.path) for one in store.blobs.entries()]
    path.unlink()
    usage = disk_usage(store)
    assert [one.missing for one in usage.models] == [1]
    assert usage.unreadable == (str(manifest_path(store, "b").relative_to(tmp_path)),)


def test_nothing_there(tmp_path: Path) -> None:
    """A folder that does not exist has no models."""
    assert disk_usage(ModelStore(tmp_path / "none")).models == ()
