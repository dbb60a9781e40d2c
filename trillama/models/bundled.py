"""The model that comes with the package, so that a first run answers without a download.

It enters the store as ``tiny:latest`` like any other model, and is replaced when the package brings
a newer one. A model of that name that somebody else put there is left alone. Where the store cannot
be written, the file is served from the package itself.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import structlog

from trillama.base.errors import CorruptModel, NotFound, StoreError
from trillama.base.names import Digest, ModelName, parse_name
from trillama.blobs import translated

from . import manifest as media
from .capabilities import capabilities, details, weight_facts
from .gguf import read_gguf
from .installed import InstalledModel
from .manifest import Layer, Manifest, config_bytes, manifest_bytes
from .store import Extras, ModelStore, config_of

log = structlog.get_logger(__name__)

NAME = "tiny:latest"
PARAMETERS = {"stop": ["<|im_start|>", "<|im_end|>"], "temperature": 0.3}


def bundled_file() -> Path | None:
    """The package's GGUF file, None in an installation without it."""
    path = Path(str(resources.files("trillama") / "data" / "tiny.gguf"))
    return path if path.is_file() else None


def ensure_bundled(store: ModelStore, source: Path | None = None) -> InstalledModel | None:
    """See that the bundled model is in ``store``; quick when it is.

    Args:
        source: the file to bring, the package's own when None; a licence may stand beside it.

    Returns:
        the model under its name, which may be somebody else's; None where no file is bundled, and
        once it was deleted.

    Raises:
        CorruptModel: the bundled file is damaged.
        StoreError: the store cannot be read.
    """
    source = source or bundled_file()
    with translated("read", store.unwanted):
        if source is None or store.unwanted.exists():
            return None
    name = parse_name(NAME)
    digest = _digest(source)
    present = _present(store, name)
    if present and (not present.config.bundled or _weights(present) == digest):
        return present
    try:
        return store.import_gguf(source, name, _extras(source))
    except StoreError as error:
        log.warning("store not writable, model served from the package", reason=error.message)
        model = _in_place(source, name, digest)
        store.lend(model)
        return model


def _extras(source: Path) -> Extras:
    license_file = source.with_suffix(".LICENSE")
    licenses = (license_file.read_text("utf-8"),) if license_file.is_file() else ()
    return Extras(parameters=PARAMETERS, licenses=licenses, bundled=True)


def _present(store: ModelStore, name: ModelName) -> InstalledModel | None:
    try:
        return store.find(name)
    except (NotFound, CorruptModel):
        return None  # a damaged manifest is of use to nobody


def _weights(model: InstalledModel) -> str:
    return model.manifest.of_type(media.MODEL)[-1].digest


def _digest(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


def _in_place(source: Path, name: ModelName, digest: Digest) -> InstalledModel:
    """The model as it would be in the store, its weights where they are."""
    facts = weight_facts(read_gguf(source, keep_arrays=0))
    config = config_of(source, bundled=True)
    data = config_bytes(config)
    config_digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    status = source.stat()
    manifest = Manifest(
        config=Layer(media.CONFIG_TYPE, config_digest, len(data)),
        layers=(Layer(media.MODEL, digest, status.st_size),),
    )
    return InstalledModel(
        name=name,
        digest=hashlib.sha256(manifest_bytes(manifest)).hexdigest(),
        size=manifest.size,
        modified=status.st_mtime_ns,
        details=details(config, facts, ""),
        capabilities=capabilities(config, facts, (), ""),
        config=config,
        manifest=manifest,
        weights=source,
        chat_template=facts.chat_template,
        parameters=PARAMETERS,
    )
