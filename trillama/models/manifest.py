"""Manifests and configs of the store, read with suspicion and written as Ollama writes them.

Bytes are Go's: compact JSON, keys in declared order (maps sorted), HTML characters escaped, a final
newline; equal content gives equal digests in both programs. Facts: Ollama's manifest/manifest.go,
layer.go and types/model/config.go. Unknown keys and media types are carried or ignored, never an
error; odd digests and sizes are.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trillama.base.errors import BadRequest, CorruptModel
from trillama.base.names import Digest
from trillama.wire import gojson

MANIFEST_CAP = 16 << 20
CONFIG_CAP = 1 << 20
TEXT_CAP = 16 << 20
"""Bytes read at most of a manifest, a config, and any other layer of text."""

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_IMAGE = "application/vnd.ollama.image."
MODEL, PROJECTOR, ADAPTER, DRAFT = (
    _IMAGE + kind for kind in ("model", "projector", "adapter", "draft")
)
TEMPLATE, PROMPT, SYSTEM, PARAMS, MESSAGES, LICENSE = (
    _IMAGE + kind for kind in ("template", "prompt", "system", "params", "messages", "license")
)


class Layer(msgspec.Struct, frozen=True, rename={"media_type": "mediaType", "source": "from"}):
    """One blob of a model; ``size`` in bytes, ``source`` is where it came from."""

    media_type: str = ""
    digest: str = ""
    size: int = 0
    source: str = ""
    name: str = ""

    @property
    def blob(self) -> Digest:
        """The digest, checked.

        Raises:
            BadRequest: the manifest names none.
        """
        return Digest(self.digest)


class Manifest(
    msgspec.Struct,
    frozen=True,
    rename={"schema_version": "schemaVersion", "media_type": "mediaType"},
):
    """What a model consists of; the order of ``layers`` decides between duplicates."""

    schema_version: int = 2
    media_type: str = MANIFEST_TYPE
    config: Layer = Layer()
    layers: tuple[Layer, ...] | None = ()

    @property
    def size(self) -> int:
        """Bytes of config and layers; a blob listed twice counts twice."""
        return self.config.size + sum(layer.size for layer in self.layers or ())

    def of_type(self, *media_types: str) -> list[Layer]:
        """Layers of these types, in order."""
        return [layer for layer in self.layers or () if layer.media_type in media_types]


class Config(msgspec.Struct, frozen=True, omit_defaults=False):
    """The config blob; fields in the order they are written.

    Attributes:
        bundled: trillama's own mark on models it brought along and may therefore replace.
    """

    model_format: str = ""
    model_family: str = ""
    model_families: tuple[str, ...] | None = None
    model_type: str = ""
    file_type: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    remote_host: str = ""
    remote_model: str = ""
    capabilities: tuple[str, ...] | None = None
    context_length: int = 0
    embedding_length: int = 0
    base_name: str = ""
    draft: dict[str, Any] | None = None
    bundled: bool = msgspec.field(default=False, name="trillama_bundled")
    architecture: str = ""
    os: str = ""


_ALWAYS = {"model_format", "model_family", "model_families", "model_type", "file_type"} | {
    "architecture",
    "os",
}
_DRAFT = ("model_format", "architecture", "tensor_prefix", "config")
_read_manifest = msgspec.json.Decoder(Manifest).decode
_read_config = msgspec.json.Decoder(Config).decode


def _check_layer(layer: Layer) -> None:
    if layer.size < 0:
        raise CorruptModel("the manifest has a layer of negative size")
    if layer.digest:
        Digest(layer.digest)


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        CorruptModel: not JSON, of another shape, or with a digest that is none.
    """
    try:
        manifest = _read_manifest(data)
        for layer in (manifest.config, *(manifest.layers or ())):
            _check_layer(layer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadRequest) as error:
        raise CorruptModel(f"the manifest is not valid: {error}") from None
    if any(not layer.digest for layer in manifest.layers or ()):
        raise CorruptModel("the manifest has a layer without a digest")
    return manifest


def parse_config(data: bytes) -> Config:
    """Read a config blob.

    Raises:
        CorruptModel: not JSON or of another shape.
    """
    try:
        return _read_config(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptModel(f"the config is not valid: {error}") from None


def go_value(value: Any, *, sort: bool = True) -> Any:
    """``value`` with its floats as Go writes them, and its keys in Go's order."""
    if isinstance(value, float):
        return gojson.number(value)
    if isinstance(value, dict):
        keys = sorted(value, key=str.encode) if sort else list(value)
        return {key: go_value(value[key], sort=sort) for key in keys}
    if isinstance(value, list | tuple):
        return [go_value(item, sort=sort) for item in value]
    return value


def go_document(value: Any) -> bytes:
    """A JSON blob as Go's encoder writes a map or list: sorted keys, a final newline."""
    return gojson.encode(go_value(value)) + b"\n"


def _layer_fields(layer: Layer) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "mediaType": layer.media_type,
        "digest": str(layer.digest),
        "size": layer.size,
    }
    if layer.source:
        fields["from"] = layer.source
    if layer.name:
        fields["name"] = layer.name
    return fields


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as Ollama writes one of its own."""
    fields = {
        "schemaVersion": manifest.schema_version,
        "mediaType": manifest.media_type,
        "config": _layer_fields(manifest.config),
        "layers": [_layer_fields(layer) for layer in manifest.layers or ()],
    }
    return gojson.encode(fields) + b"\n"


def config_bytes(config: Config) -> bytes:
    """The config blob as Ollama writes it, and our own mark where it is set."""
    fields = msgspec.to_builtins(config)
    kept = {key: value for key, value in fields.items() if value or key in _ALWAYS}
    if draft := config.draft:
        declared = [key for key in _DRAFT if key in draft]
        order = [*declared, *sorted(key for key in draft if key not in _DRAFT)]
        kept["draft"] = {key: go_value(draft[key]) for key in order}
    return gojson.encode(kept) + b"\n"
