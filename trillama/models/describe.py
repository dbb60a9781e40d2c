"""What ``show`` tells of a model, as plain values in Ollama's words.

Texts of small layers come with the model; facts of the weights are read from their headers again,
since lists of tensors and vocabularies are kept nowhere.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from trillama.base.errors import CorruptModel, NotFound
from trillama.wire import gojson
from trillama.wire.goquote import quote

from . import manifest as media
from .gguf import GgufArray, GgufFile, Value, read_gguf
from .installed import InstalledModel
from .modelfile import Command, render
from .modelfile.lexer import ROLES
from .modelfile.meaning import shortest

log = structlog.get_logger(__name__)

PLAIN_TEMPLATE = "{{ .Prompt }}"
"""Go template of a model that has none."""

HIDDEN = ("general.name", "tokenizer.chat_template")
_KEY = re.compile(r"[A-Za-z0-9_]+")


class Headers(msgspec.Struct, frozen=True):
    """Headers of a model's files; None where there is none, or it cannot be read."""

    weights: GgufFile | None
    projector: GgufFile | None


def _header(path: Path | None, *, verbose: bool) -> GgufFile | None:
    try:
        return read_gguf(path, keep_arrays=None if verbose else 0) if path else None
    except (CorruptModel, NotFound) as error:
        log.warning("header unreadable", file=path and path.name, reason=error.message)
        return None


def read_headers(model: InstalledModel, *, verbose: bool) -> Headers:
    """Read what ``model_info``, ``projector_info`` and ``tensors`` are made of; blocks.

    Args:
        verbose: keep arrays, some of which have hundreds of thousands of elements.
    """
    projector = model.projectors[0] if model.projectors else None
    return Headers(_header(model.weights, verbose=verbose), _header(projector, verbose=verbose))


def _number(value: float) -> Any:
    return gojson.number(shortest(value)) if math.isfinite(value) else None


def _plain(value: Value, *, verbose: bool) -> Any:
    if isinstance(value, float):
        return _number(value)
    if not isinstance(value, GgufArray):
        return value
    if not value.count:
        return []
    if not verbose or value.values is None:
        return None
    if value.element == "uint8":
        return base64.b64encode(bytes(map(int, value.values))).decode()
    if value.element.startswith("float"):
        return [_number(float(one)) for one in value.values]
    return value.values


def metadata(file: GgufFile, *, verbose: bool) -> dict[str, Any]:
    """``model_info`` of a header: sorted, arrays left out unless ``verbose``."""
    found = {key: _plain(value, verbose=verbose) for key, value in file.metadata.items()}
    found["general.parameter_count"] = file.parameter_count
    return {key: found[key] for key in sorted(found) if key not in HIDDEN}


def tensors(file: GgufFile) -> list[dict[str, Any]]:
    """``tensors`` of a header, in its order; dimensions as ggml counts them."""
    return [
        {"name": one.name, "type": one.type.name, "shape": list(one.shape)} for one in file.tensors
    ]


def _values(parameters: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in sorted(parameters):
        value = parameters[name]
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str | bool | int) or (isinstance(one, float) and math.isfinite(one)):
                yield name, one


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return bytes(gojson.number(value)).decode()
    return str(value)


def parameter_lines(parameters: dict[str, Any]) -> str:
    """``parameters`` of a show: a name, padded to 30, and a value, for each value."""
    return "\n".join(
        f"{name:<30} {quote(value) if isinstance(value, str) else _text(value)}"
        for name, value in _values(parameters)
    )


def template_of(model: InstalledModel) -> str:
    """The template in effect: the Go template, Jinja of the weights, or the plain one."""
    if model.by_go:
        return model.template
    return model.chat_template or model.template or PLAIN_TEMPLATE


def _files(model: InstalledModel) -> Iterator[tuple[str, Path]]:
    if model.weights is None:
        return
    folder = model.weights.parent
    drafts = (layer.blob.file_name for layer in model.manifest.of_type(media.DRAFT))
    yield "from", model.weights
    yield from (("adapter", path) for path in model.adapters)
    yield from (("draft", folder / name) for name in drafts)
    yield from (("from", path) for path in model.projectors)


def commands(model: InstalledModel, licenses: list[str]) -> Iterator[Command]:
    """What describes the model in a Modelfile; creating from it gives the same model again."""
    yield from (Command(name, str(path)) for name, path in _files(model))
    # With Jinja in the weights, a plain Go template written here would become a layer.
    template = model.template or ("" if model.chat_template else PLAIN_TEMPLATE)
    config = model.config
    texts = (
        *(("template", template), ("system", model.system), ("renderer", config.renderer)),
        *(("parser", config.parser), ("requires", config.requires)),
    )
    yield from (Command(name, text) for name, text in texts if text)
    for name, value in _values(model.parameters):
        if _KEY.fullmatch(name):
            yield Command("parameter", _text(value), name)
    yield from (Command("license", text) for text in licenses)
    for message in model.messages:
        if message.role in ROLES:
            yield Command("message", message.content, message.role)


def modelfile_text(model: InstalledModel, licenses: list[str]) -> str:
    """The Modelfile of a model."""
    return (
        '# Modelfile generated by "ollama show"\n'
        "# To build a new Modelfile based on this, replace FROM with:\n"
        f"# FROM {model.name.short}\n\n{render(commands(model, licenses))}"
    )
