"""Makes a model from a recipe: layers, config, manifest, in this order, the manifest last.

Blobs: every layer is held from before it is written until the manifest names it, so neither a
delete nor a pruning beside takes one away; a crash leaves blobs that nobody needs and no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
import structlog

from trillama.base.errors import BadRequest, CorruptModel, NotFound, Unsupported
from trillama.base.names import Digest
from trillama.base.progress import Progress, Tell
from trillama.prompts.known import detect_template

from .. import manifest as media
from ..adapters import check_adapter
from ..capabilities import size_text, weight_facts
from ..gguf import GgufArray, GgufFile, read_gguf
from ..holds import Hold
from ..installed import InstalledModel
from ..manifest import Config, Layer, Manifest, config_bytes, go_document, manifest_bytes
from ..store import ModelStore
from .layers import check_parameters, check_template, messages_document
from .merge import merged_size, write_merged
from .recipe import Recipe
from .sources import Part, Source, check_weights, parts_of, read_sources, require_blob, require_gguf

log = structlog.get_logger(__name__)

_NEMOTRON = ("nemotron-3-nano", "nemotron-3-nano")
FAMILIES = {
    "gemma4": ("gemma4", "gemma4"),
    "laguna": ("laguna", "laguna"),
    "nemotron_h": _NEMOTRON,
    "nemotron_h_moe": _NEMOTRON,
    "nemotron_h_omni": _NEMOTRON,
}
"""Renderer and parser that Ollama names for an architecture where nobody else does."""

FAMILY_STOPS = {"gemma4": ["<turn|>"]}


class _Builder:
    """A model in the making.

    Attributes:
        config: filled as layers come; what is set already stays.
        layers: with the status each is reported by.
    """

    def __init__(self, store: ModelStore, hold: Hold, tell: Tell) -> None:
        self.store = store
        self.hold = hold
        self.tell = tell
        self.config = Config(architecture="amd64", os="linux")
        self.layers: list[tuple[Layer, str]] = []
        self.parameters: dict[str, Any] = {}

    def say(self, status: str) -> None:
        self.tell(Progress(status))

    def fill(self, **found: Any) -> None:
        """Set what is not set yet."""
        unset = {name: value for name, value in found.items() if not getattr(self.config, name)}
        self.config = msgspec.structs.replace(self.config, **unset)

    def add(self, layer: Layer, status: str = "") -> None:
        """Append a layer that is in the store."""
        self.hold.add(layer.blob)
        self.layers.append((layer, status or f"using existing layer {layer.digest}"))

    def write(self, kind: str, data: bytes) -> Layer:
        """Store a small layer; it is not appended yet."""
        digest = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
        self.hold.add(digest)
        self.store.blobs.publish_bytes(data)
        return Layer(kind, digest, len(data))

    def append(self, kind: str, data: bytes, status: str = "") -> None:
        """Store a small layer and append it."""
        digest = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
        known = self.store.blobs.exists(digest)
        layer = self.write(kind, data)
        how = "using existing layer" if known else "creating new layer"
        self.layers.append((layer, status or f"{how} {digest}"))

    def drop(self, *kinds: str) -> None:
        """Take layers of these kinds out."""
        self.layers = [pair for pair in self.layers if pair[0].media_type not in kinds]

    def describe(self, header: GgufFile) -> None:
        """Fill the config from the weights of a model layer."""
        facts = weight_facts(header)
        families = (*(self.config.model_families or ()), facts.architecture)
        self.fill(
            model_format="gguf",
            model_family=facts.architecture,
            model_type=size_text(facts.parameter_count),
            file_type=facts.file_type,
        )
        self.config = msgspec.structs.replace(self.config, model_families=families)


def create(store: ModelStore, recipe: Recipe, tell: Tell) -> InstalledModel:
    """Make the model of ``recipe``, in place of whatever has its name; blocks.

    Args:
        tell: told Ollama's statuses, from the calling thread; may raise to call it off.

    Raises:
        NotFound: the base is not installed.
        BadRequest: a file is missing or unsound, or a part of the recipe makes no sense.
        Unsupported: it asks for what this version cannot make.
        StoreFull, StoreError.
    """
    if recipe.template:
        check_template(recipe.template)
    check_parameters(recipe.parameters)
    if recipe.base is None and recipe.files is None:
        raise BadRequest("neither 'from' or 'files' was specified")
    with store.holds.hold() as hold:
        builder = _Builder(store, hold, tell)
        _begin(builder, recipe)
        if recipe.base:
            _take_base(builder, store.find(recipe.base))
        else:
            _take_files(builder, recipe.files or {})
        _take_extra(builder, recipe.adapters, media.ADAPTER)
        if recipe.adapters or recipe.files:
            _check_adapters(builder)
        _take_extra(builder, recipe.drafts, media.DRAFT)
        if recipe.drafts:
            _check_drafts(builder)
        _take_texts(builder, recipe)
        data = _manifest(builder)
        builder.say("writing manifest")
        store.publish(recipe.name, data)
    log.info("model created", model=recipe.name.short)
    builder.say("success")
    return store.find(recipe.name)


def _begin(builder: _Builder, recipe: Recipe) -> None:
    """What the client says itself wins over base and weights."""
    info = recipe.info
    builder.fill(
        renderer=recipe.renderer,
        parser=recipe.parser,
        requires=recipe.requires,
        model_family=info.model_family,
        model_families=(info.model_family,) if info.model_family else None,
        base_name=info.base_name,
        file_type=info.quantization_level,
        model_type=info.parameter_size,
        context_length=info.context_length,
        embedding_length=info.embedding_length,
        capabilities=info.capabilities or None,
    )


def _take_base(builder: _Builder, base: InstalledModel) -> None:
    old = base.config
    if old.remote_host or base.weights is None:
        raise Unsupported("not supported by this version of trillama: models that run elsewhere")
    builder.store.path_of(base.name)  # a model that lies elsewhere has no blobs to share
    merged = dict.fromkeys((*(old.capabilities or ()), *(builder.config.capabilities or ())))
    builder.config = msgspec.structs.replace(builder.config, capabilities=tuple(merged) or None)
    builder.fill(
        renderer=old.renderer,
        parser=old.parser,
        requires=old.requires,
        model_format=old.model_format,
        draft=old.draft,
    )
    described = False
    for layer in base.manifest.layers or ():
        inherited = msgspec.structs.replace(layer, source=base.name.short)
        if layer.media_type == media.MODEL:
            described = _describe_base(builder, layer) or described
        builder.add(inherited)
    if not described:
        builder.fill(
            model_family=old.model_family,
            model_families=old.model_families,
            model_type=old.model_type,
            file_type=old.file_type,
        )
    builder.parameters = dict(base.parameters)


def _describe_base(builder: _Builder, layer: Layer) -> bool:
    try:
        builder.describe(read_gguf(builder.store.blobs.path(layer.blob), keep_arrays=0))
    except (CorruptModel, NotFound):
        return False  # as good as it was: what the base's config says is taken
    return True


def _take_files(builder: _Builder, files: dict[str, Digest]) -> None:
    _hold_uploads(builder, files)
    for part in parts_of(
        read_sources(files, builder.store.blobs, lambda: builder.say("parsing GGUF"))
    ):
        if part.kind == media.MODEL:
            layer = _weights(builder, part)
            header = read_gguf(builder.store.blobs.path(layer.blob), keep_arrays=0)
            builder.add(layer)
            builder.describe(header)
            _detect(builder, header)
        else:
            builder.add(_layer(builder, part.sources[0]))
    if not any(layer.media_type == media.MODEL for layer, _ in builder.layers):
        raise BadRequest("none of the files is a model: adapters and projectors need one")


def _hold_uploads(builder: _Builder, files: dict[str, Digest]) -> None:
    for digest in files.values():
        builder.hold.add(digest)
        require_blob(builder.store.blobs, digest)
    require_gguf(files, builder.store.blobs)


def _weights(builder: _Builder, part: Part) -> Layer:
    blobs = builder.store.blobs
    builder.say("validating GGUF model")
    digest = part.sources[0].digest
    if len(part.sources) > 1:
        digest = _merge(builder, part.sources)
    check_weights(blobs.path(digest))
    return Layer(media.MODEL, digest, blobs.size(digest))


def _merge(builder: _Builder, sources: tuple[Source, ...]) -> Digest:
    blobs = builder.store.blobs
    shards = [(blobs.path(source.digest), source.header) for source in sources]
    builder.say(f"joining {len(shards)} shards")
    with blobs.stage(merged_size(shards)) as stage:
        write_merged(shards, stage.write)
        digest = stage.commit().digest
    builder.hold.add(digest)
    return digest


def _layer(builder: _Builder, source: Source, kind: str = "") -> Layer:
    size = builder.store.blobs.size(source.digest)
    return Layer(kind or source.kind, source.digest, size, source=source.name)


def _detect(builder: _Builder, header: GgufFile) -> None:
    known = detect_template(header.text("tokenizer.chat_template"))
    if known is None:
        return
    builder.append(
        media.TEMPLATE, known.source.encode(), f"using autodetected template {known.name}"
    )
    if known.stop:
        builder.parameters["stop"] = list(known.stop)
        builder.append(media.PARAMS, go_document(builder.parameters))


def _take_extra(builder: _Builder, files: dict[str, Digest], kind: str) -> None:
    """Adapters or drafts."""
    if not files:
        return
    _hold_uploads(builder, files)
    if kind == media.ADAPTER and len(files) > 1:
        raise BadRequest("only one adapter is currently supported")
    parsing = "parsing GGUF"
    for source in read_sources(files, builder.store.blobs, lambda: builder.say(parsing), kind):
        builder.add(_layer(builder, source, kind))
        if kind == media.DRAFT:
            architecture = source.header.architecture
            builder.fill(draft={"model_format": "gguf", "architecture": architecture})


def _check_adapters(builder: _Builder) -> None:
    """See that adapters fit the weights, where those can be read."""
    models, adapters = _headers(builder, media.MODEL), _headers(builder, media.ADAPTER)
    for adapter in adapters if models else ():
        check_adapter(adapter, models[-1])


def _check_drafts(builder: _Builder) -> None:
    """See that a draft has as many tokens as the model; whether they are the same, a load tells."""
    counts = [
        [_tokens(header) for header in _headers(builder, kind)]
        for kind in (media.MODEL, media.DRAFT)
    ]
    for own in counts[0][-1:]:
        for other in counts[1]:
            if own and other and own != other:
                raise BadRequest(
                    f"the DRAFT has a vocabulary of {other} tokens, the model one of {own}: "
                    "a draft must have the vocabulary of the model it guesses for"
                )


def _tokens(header: GgufFile) -> int:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    return tokens.count if isinstance(tokens, GgufArray) else 0


def _headers(builder: _Builder, kind: str) -> list[GgufFile]:
    """Headers of all layers of a kind; none where one cannot be read, which its use will tell."""
    paths = [builder.store.blobs.path(layer.blob) for layer, _ in builder.layers
             if layer.media_type == kind]  # fmt: skip
    try:
        return [read_gguf(path, keep_arrays=0) for path in paths]
    except (CorruptModel, NotFound):
        return []


def _take_texts(builder: _Builder, recipe: Recipe) -> None:
    """Template, system text, licenses, parameters and messages, in Ollama's order."""
    given = dict(recipe.parameters)
    renderer, parser = FAMILIES.get(builder.config.model_family, ("", ""))
    if not (builder.config.renderer and builder.config.parser) and (renderer or parser):
        builder.fill(renderer=renderer, parser=parser)
        if stops := FAMILY_STOPS.get(builder.config.model_family):
            given.setdefault("stop", stops)
    if recipe.template:
        builder.drop(media.TEMPLATE, media.PROMPT)
        builder.append(media.TEMPLATE, recipe.template.encode())
    if recipe.system:
        builder.drop(media.SYSTEM)
        builder.append(media.SYSTEM, recipe.system.encode())
    for text in _texts(recipe.licenses):
        builder.append(media.LICENSE, text.encode())
    if given:
        builder.drop(media.PARAMS)
        builder.append(media.PARAMS, go_document(builder.parameters | given))
    if recipe.messages:
        builder.drop(media.MESSAGES)
        builder.append(media.MESSAGES, messages_document(recipe.messages))


def _texts(licenses: Iterable[str]) -> list[str]:
    return [text for text in licenses if text]


def _manifest(builder: _Builder) -> bytes:
    config = builder.write(media.CONFIG_TYPE, config_bytes(builder.config))
    for _, status in builder.layers:
        builder.say(status)
    layers = tuple(layer for layer, _ in builder.layers)
    return manifest_bytes(Manifest(config=config, layers=layers))
