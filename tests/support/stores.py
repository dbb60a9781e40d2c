"""Models put into a store as another program would put them there."""

from __future__ import annotations

from pathlib import Path

from trillama.base.names import parse_name
from trillama.models import manifest as media
from trillama.models.manifest import Config, Layer, Manifest, config_bytes, manifest_bytes
from trillama.models.store import ModelStore


def manifest_path(store: ModelStore, name: str) -> Path:
    """Where the manifest of ``name`` is."""
    return store.root.joinpath("manifests", *parse_name(name).parts)


def layer(store: ModelStore, kind: str, data: bytes) -> Layer:
    """A blob and its layer."""
    return Layer(kind, store.blobs.publish_bytes(data), len(data))


def put(
    store: ModelStore, name: str, *layers: tuple[str, bytes], config: Config | None = None
) -> Path:
    """Write a manifest with these layers; without ``config`` like the oldest ones."""
    made = tuple(layer(store, kind, data) for kind, data in layers)
    head = layer(store, media.CONFIG_TYPE, config_bytes(config)) if config else Layer()
    path = manifest_path(store, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(manifest_bytes(Manifest(config=head, layers=made)))
    return path
