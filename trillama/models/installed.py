"""One installed model: what its manifest, its small layers and its weights' header say.

``read_installed`` turns a manifest into an ``InstalledModel``; ``FactsCache`` remembers the headers
of weights by digest, since reading a vocabulary takes some 50 ms and weights never change.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from trillama.base.errors import CorruptModel, NotFound
from trillama.base.memory import Footprint
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.base.names import Digest, ModelName
from trillama.blobs import BlobStore
from trillama.prompts.choice import uses_go

from . import manifest as media
from .capabilities import (
    Details,
    WeightFacts,
    capabilities,
    details,
    templates_of,
    weight_facts,
)
from .gguf import read_gguf
from .manifest import Config, Layer, Manifest, parse_config
from .tree import Found

log = structlog.get_logger(__name__)


class InstalledModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the store; immutable, a changed manifest makes a new one.

    Attributes:
        digest: hex SHA-256 of the manifest's bytes.
        size: bytes of all layers and the config.
        modified: nanoseconds since 1970 of the manifest file.
        weights: file of the GGUF; None for a stub of a remote model.
        chat_template: Jinja text inside the weights, "" if none.
        tool_template: Jinja text to use instead where tools are offered, "" if none.
        template: Go template layer, "" if none.
        by_go: that template makes the prompts, not the Jinja text.
        parameters: the params layers, later ones over earlier ones.
        licenses: blobs of license texts, see ``ModelStore.licenses``.
        drafts: smaller models that guess ahead; the last one does.
        footprint: what its weights and contexts take of memory, its draft's among them.
    """

    name: ModelName
    digest: str
    size: int
    modified: int
    details: Details
    capabilities: tuple[str, ...]
    config: Config
    manifest: Manifest
    weights: Path | None
    projectors: tuple[Path, ...] = ()
    adapters: tuple[Path, ...] = ()
    drafts: tuple[Path, ...] = ()
    chat_template: str = ""
    tool_template: str = ""
    template: str = ""
    by_go: bool = False
    system: str = ""
    parameters: dict[str, Any] = {}
    messages: tuple[Message, ...] = ()
    licenses: tuple[Digest, ...] = ()
    footprint: Footprint | None = None


PER_BLOCK = 512
"""Elements of an array of the header that may be one for each block; longer ones are not kept."""


class FactsCache:
    """Facts of weights by digest; a file that cannot be read is remembered as None."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._known: dict[Digest, WeightFacts | None] = {}
        self._lock = threading.Lock()

    def get(self, digest: Digest) -> WeightFacts | None:
        """Facts of a blob of weights, None where its header is unreadable."""
        with self._lock:
            if digest in self._known:
                return self._known[digest]
        try:
            facts = weight_facts(read_gguf(self._blobs.path(digest), keep_arrays=PER_BLOCK))
        except NotFound:
            return None  # not remembered: a pull may bring it
        except CorruptModel as error:
            log.warning("weights unreadable", digest=digest, reason=error.message)
            facts = None
        with self._lock:
            self._known[digest] = facts
        return facts


class _Reader:
    """The small layers of one manifest."""

    def __init__(self, blobs: BlobStore, manifest: Manifest) -> None:
        self._blobs = blobs
        self._manifest = manifest

    def config(self) -> Config:
        """The config; an empty one where an old manifest names none."""
        if not self._manifest.config.digest:
            return Config()
        return parse_config(self._read(self._manifest.config, media.CONFIG_CAP))

    def text(self, *media_types: str) -> str:
        """Text of the last layer of these types, "" if there is none."""
        layers = self._manifest.of_type(*media_types)
        return self._read(layers[-1]).decode("utf-8", "replace") if layers else ""

    def parameters(self) -> dict[str, Any]:
        """All params layers merged."""
        merged: dict[str, Any] = {}
        for layer in self._manifest.of_type(media.PARAMS):
            merged |= self._json(layer, dict)
        return merged

    def messages(self) -> tuple[Message, ...]:
        """Stored messages of the last messages layer."""
        layers = self._manifest.of_type(media.MESSAGES)
        stored = self._json(layers[-1], list) if layers else []
        return tuple(_message(fields) for fields in stored if isinstance(fields, dict))

    def digests(self, media_type: str) -> tuple[Digest, ...]:
        """Blobs of all layers of this type."""
        return tuple(layer.blob for layer in self._manifest.of_type(media_type))

    def _json(self, layer: Layer, kind: type[Any]) -> Any:
        try:
            value = msgspec.json.decode(self._read(layer))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise CorruptModel(f"a {layer.media_type} layer is not valid: {error}") from None
        return value if isinstance(value, kind) else kind()

    def _read(self, layer: Layer, cap: int = media.TEXT_CAP) -> bytes:
        return self._blobs.read_bytes(layer.blob, cap)


def _message(fields: dict[str, Any]) -> Message:
    def text(key: str) -> str:
        value = fields.get(key)
        return value if isinstance(value, str) else ""

    calls = fields.get("tool_calls")
    return Message(
        role=text("role").lower(),
        content=text("content"),
        thinking=text("thinking"),
        tool_calls=tuple(map(_tool_call, calls)) if isinstance(calls, list) else (),
        tool_name=text("tool_name"),
        tool_call_id=text("tool_call_id"),
    )


def _tool_call(fields: Any) -> ToolCall:
    try:
        function = fields["function"]
        arguments = function.get("arguments") or {}
        return ToolCall(ToolFunction(str(function["name"]), dict(arguments)), fields.get("id", ""))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CorruptModel("a stored message has a tool call that is none") from None


def read_installed(
    found: Found, blobs: BlobStore, cache: FactsCache, wants_go: bool | None = None
) -> InstalledModel:
    """Everything about a model but its licenses and its tensors.

    Args:
        wants_go: whether Go templates make the prompts of models that have both; None leaves it to
            what the templates can do.

    Raises:
        NotFound: a small layer is missing.
        CorruptModel: a small layer is damaged.
    """
    manifest = found.manifest
    reader = _Reader(blobs, manifest)
    config = reader.config()
    models = manifest.of_type(media.MODEL)
    facts = cache.get(models[-1].blob) if models else None
    template = reader.text(media.TEMPLATE, media.PROMPT)
    projectors, drafts = reader.digests(media.PROJECTOR), reader.digests(media.DRAFT)
    return InstalledModel(
        name=found.name,
        digest=found.digest,
        size=manifest.size,
        modified=found.modified,
        details=details(config, facts, models[-1].source if models else ""),
        capabilities=capabilities(
            config, facts, [cache.get(one) for one in projectors], template, wants_go=wants_go
        ),
        config=config,
        manifest=manifest,
        weights=blobs.path(models[-1].blob) if models else None,
        projectors=tuple(map(blobs.path, projectors)),
        adapters=tuple(map(blobs.path, reader.digests(media.ADAPTER))),
        drafts=tuple(map(blobs.path, drafts)),
        chat_template=facts.chat_template if facts else "",
        tool_template=facts.tool_template if facts else "",
        template=template,
        by_go=uses_go(templates_of(config, facts, template), wants_go),
        system=reader.text(media.SYSTEM),
        parameters=reader.parameters(),
        messages=reader.messages(),
        footprint=_footprint(facts, map(cache.get, drafts)),
        licenses=reader.digests(media.LICENSE),
    )


def _footprint(
    weights: WeightFacts | None, drafts: Iterable[WeightFacts | None]
) -> Footprint | None:
    """What a model takes together with its draft; None where its file is not one that is known."""
    if weights is None or weights.footprint is None:
        return None
    draft = next((one.footprint for one in list(drafts)[-1:] if one), None)
    return weights.footprint.beside(draft) if draft else weights.footprint
