"""``trillama inspect``: metadata and tensors of a GGUF file, on the disk, on the web or in a model.

Works without a server. Files are read by the bounded reader alone; of one on the web only the
header is fetched. What a file says may be hostile, so no control character of it is printed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import trio

from trillama.base.errors import NotFound
from trillama.base.settings import Settings
from trillama.models import manifest as media
from trillama.models.capabilities import size_text
from trillama.models.ggml_types import file_type_name
from trillama.models.gguf import GgufArray, GgufFile, Value, read_gguf
from trillama.models.registry.errors import Offline
from trillama.models.registry.header import remote_gguf
from trillama.models.registry.network import tls_context
from trillama.models.registry.session import Ways
from trillama.models.store import ModelStore

from .console import human_bytes
from .show import plain, section

WEIGHTS = (media.MODEL, media.PROJECTOR, media.ADAPTER, media.DRAFT)
TEXT_WIDTH = 80
"""Characters of a text value that people are shown."""


def inspected(target: str, settings: Settings, *, as_json: bool = False) -> str:
    """What to print about a file, a web address or an installed model.

    Raises:
        NotFound: there is no such file or model.
        CorruptModel: it is no sound GGUF file.
        Offline, RegistryError: the web is forbidden, or does not yield it.
    """
    found = list(_files(target, settings))
    if as_json:
        return json.dumps([_record(where, file) for where, file in found], indent=2) + "\n"
    return "".join(_sections(where, file) for where, file in found)


def _files(target: str, settings: Settings) -> Iterator[tuple[str, GgufFile]]:
    if target.lower().startswith(("http://", "https://")):
        yield target, _fetched(target, settings)
        return
    path = Path(target)
    if path.is_dir() and target.startswith((".", "/")):
        raise NotFound(f"{target} is a folder")
    if target.startswith((".", "/")) or target.lower().endswith(".gguf") or path.is_file():
        yield target, read_gguf(path)
        return
    store = ModelStore(Path(settings.models))
    model = store.find(target)
    for layer in model.manifest.of_type(*WEIGHTS):
        kind = layer.media_type.rpartition(".")[2]
        yield f"{model.name.short} ({kind})", read_gguf(store.blobs.path(layer.blob))


def _fetched(url: str, settings: Settings) -> GgufFile:
    if settings.offline:
        raise Offline
    known = frozenset(one.hostname for one in settings.registries)

    async def fetch() -> GgufFile:
        await trio.to_thread.run_sync(tls_context)
        return await remote_gguf(url, Ways(known=known))

    return trio.run(fetch)


def _json_value(value: Value) -> Any:
    if isinstance(value, GgufArray):
        fields: dict[str, Any] = {"array": value.element, "count": value.count}
        if value.values is not None:
            fields["values"] = [_json_value(one) for one in value.values]
        return fields
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _record(where: str, file: GgufFile) -> dict[str, Any]:
    return {
        "source": where,
        "version": file.version,
        "alignment": file.alignment,
        "size": file.size,
        "data_offset": file.data_offset,
        "parameter_count": file.parameter_count,
        "metadata": {key: _json_value(value) for key, value in file.metadata.items()},
        "tensors": [
            {**msgspec.structs.asdict(one), "type": one.type.name, "size": one.size}
            for one in file.tensors
        ],
    }


def _sections(where: str, file: GgufFile) -> str:
    facts = [
        ("source", _safe(where)),
        ("version", str(file.version)),
        ("size", human_bytes(file.size)),
        ("header", human_bytes(file.data_offset)),
        ("parameters", size_text(file.parameter_count)),
        ("quantization", file_type_name(file.metadata.get("general.file_type"))),
    ]
    metadata = [(_safe(key), _shown(value)) for key, value in file.metadata.items()]
    tensors = [
        (
            _safe(one.name),
            one.type.name,
            f"[{' '.join(map(str, one.shape))}]",
            human_bytes(one.size),
        )
        for one in file.tensors
    ]
    parts = (("File", facts), ("Metadata", metadata), ("Tensors", tensors))
    return "".join(section(title, list(rows)) for title, rows in parts if rows)


def _shown(value: Value) -> str:
    if isinstance(value, GgufArray):
        if value.values is None:
            return f"[{value.count} of {value.element}]"
        return _safe(plain(value.values))
    return _safe(plain(value))


def _safe(text: str) -> str:
    """On one line, not too long, and without a character that moves a terminal's cursor."""
    cut = text if len(text) <= TEXT_WIDTH else f"{text[: TEXT_WIDTH - 1]}…"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut)
