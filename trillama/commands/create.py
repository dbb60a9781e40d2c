"""``trillama create``: a model from a Modelfile, its files brought to the server.

Where the server's models folder is ours too, a file is not copied: it is shared or referred to in
place, and only the server's own word that the blob is there counts. Elsewhere it is uploaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trillama.base.errors import BadRequest, NotFound, TrillamaError
from trillama.base.names import Digest, parse_name
from trillama.base.settings import Settings
from trillama.blobs import Blob, Published
from trillama.models.create.layers import message_fields
from trillama.models.modelfile import Instructions, decode, instructions, parse
from trillama.models.store import ModelStore

from .client import Client
from .progress import Shower

DEFAULT = "Modelfile"
HOW = {
    Published.PRESENT: "already in the store",
    Published.REFLINK: "shares its blocks with the store, no bytes copied",
    Published.HARDLINK: "hard-linked into the store, no bytes copied",
    Published.REFERENCE: "referred to where it is, no bytes copied; keep the file",
    Published.COPY: "copied to the server",
}
CHUNK = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOptions:
    """The flags of ``create``."""

    file: str = ""
    quantize: str = ""
    draft_quantize: str = ""
    quiet: bool = False


@dataclass(slots=True)
class Files:
    """Files a Modelfile names, by the names the server will know them by."""

    models: dict[str, Path] = field(default_factory=dict)
    adapters: dict[str, Path] = field(default_factory=dict)
    drafts: dict[str, Path] = field(default_factory=dict)


def create_model(client: Client, name: str, options: CreateOptions, settings: Settings) -> None:
    """Create ``name`` from a Modelfile.

    Raises:
        BadRequest, NotFound: the name, the Modelfile, or a file it names is wrong.
        ServerRefused: the server's word.
    """
    try:
        parse_name(name)
    except BadRequest:
        raise BadRequest(f"invalid model name: {name}") from None
    text, folder = read_modelfile(options.file)
    said = instructions(parse(text))
    for parameter in said.deprecated:
        print(f"warning: parameter {parameter} is deprecated")
    base, files = resolve(said, folder)
    with Shower(quiet=options.quiet) as shower:
        courier = Courier(client, settings, shower)
        fields = request_fields(name, said, options) | ({"from": base} if base else {})
        for key, paths in (
            ("files", files.models), ("adapters", files.adapters), ("draft_files", files.drafts)
        ):  # fmt: skip
            if paths:
                fields[key] = {known: courier.bring(path) for known, path in paths.items()}
        for record in client.stream("/api/create", fields):
            shower.record(record)


def read_modelfile(file: str) -> tuple[str, Path]:
    """Text of a Modelfile and the folder its paths start from.

    Raises:
        NotFound: the file that was named is not there.
    """
    path = Path(file or DEFAULT)
    try:
        return decode(path.read_bytes()), path.absolute().parent
    except FileNotFoundError:
        if file:
            raise NotFound("specified Modelfile wasn't found") from None
        return "FROM .", Path.cwd()
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from None


def request_fields(name: str, said: Instructions, options: CreateOptions) -> dict[str, Any]:
    """What goes to the server beside base and files."""
    fields: dict[str, Any] = {
        "template": said.template,
        "system": said.system,
        "renderer": said.renderer,
        "parser": said.parser,
        "requires": said.requires,
        "license": list(said.licenses),
        "parameters": said.parameters,
        "messages": [message_fields(message) for message in said.messages],
        "quantize": options.quantize,
        "draft_quantize": options.draft_quantize,
    }
    return {"model": name} | {key: value for key, value in fields.items() if value}


def resolve(said: Instructions, folder: Path) -> tuple[str, Files]:
    """Which of the bases are files and which is a model.

    Raises:
        BadRequest: a path is not there, or holds nothing a model can be made from.
    """
    base, paths = "", []
    for text in said.bases:
        path = expand(text, folder)
        if path.exists():
            paths += files_of(path)
        elif looks_like_path(text):
            raise BadRequest(f"{text}: no such file")
        else:
            base = text
    files = Files(models=named(paths))
    for texts, into in ((said.adapters[-1:], "adapters"), (said.drafts, "drafts")):
        found = [one for text in texts for one in existing(expand(text, folder), text)]
        if into == "drafts" and (both := set(found) & set(paths)):
            raise BadRequest(f"DRAFT must not reference the same local path as FROM: {both.pop()}")
        setattr(files, into, named(found))
    return base, files


def existing(path: Path, text: str) -> list[Path]:
    """Files of a path that has to be there."""
    if not path.exists():
        raise BadRequest(f"{text}: no such file")
    return files_of(path)


def expand(text: str, folder: Path) -> Path:
    """A path of a Modelfile: from the home folder, or from where the Modelfile is."""
    try:
        return folder / Path(text).expanduser()
    except RuntimeError as error:
        raise BadRequest(str(error)) from None


def looks_like_path(text: str) -> bool:
    """Whether a text that names no file was meant to."""
    return text.startswith((".", "/", "~")) or text.lower().endswith((".gguf", ".safetensors"))


def files_of(path: Path) -> list[Path]:
    """The file, or the GGUF files of the folder.

    Raises:
        BadRequest: there are none, or one leads out of the folder.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise BadRequest(f"{path} is not a regular file")
    found = sorted(path.glob("*.gguf"))
    if not found and any(path.glob("*.safetensors")):
        raise BadRequest("not supported by this version of trillama: creating from safetensors")
    if not found:
        raise BadRequest("no Modelfile or safetensors files found")
    for one in found:
        if not one.resolve().is_relative_to(path.resolve()):
            raise BadRequest(f"insecure path: {one.name}")
    return found


def named(paths: Iterable[Path]) -> dict[str, Path]:
    """Names below the deepest common folder; of a single file, its last part."""
    found = list(dict.fromkeys(paths))
    if len(found) < 2:
        return {path.name: path for path in found}
    top = Path(os.path.commonpath([path.absolute().parent for path in found]))
    return {path.absolute().relative_to(top).as_posix(): path for path in found}


class Courier:
    """Brings files to the server, without copying where that is possible."""

    def __init__(self, client: Client, settings: Settings, shower: Shower) -> None:
        self._client = client
        self._shower = shower
        root = Path(settings.models)
        local = client.address.loopback and root.is_dir() and os.access(root, os.W_OK)
        self._store = ModelStore(root) if local else None

    def bring(self, path: Path) -> str:
        """See that the server has the file's content; its digest."""
        with self._shower.working(f"gathering model components: {path.name}"):
            blob = self._take(path)
        if blob is None:
            digest = self._digest(path)
            self._upload(path, digest)
            blob = Blob(digest, path.stat().st_size, Published.COPY)
        self._shower.tell(f"{path.name}: {HOW[blob.how]}")
        return str(blob.digest)

    def _take(self, path: Path) -> Blob | None:
        """The file in the folder that the server uses; None where it uses another one."""
        if self._store is None:
            return None
        try:
            blob = self._store.references.take(path)
        except (BadRequest, NotFound):
            raise
        except TrillamaError:
            return None  # a folder that we may not write into: the server may
        if blob is None or self._client.exists(f"/api/blobs/{blob.digest}"):
            return blob
        if blob.how is not Published.PRESENT:
            self._store.discard(blob.digest)
        return None

    def _digest(self, path: Path) -> Digest:
        size = max(path.stat().st_size, 1)
        found = hashlib.sha256()
        with self._shower.bar(f"reading {path.name}", size) as advance:
            for data in chunks(path):
                found.update(data)
                advance(len(data))
        return Digest(f"sha256:{found.hexdigest()}")

    def _upload(self, path: Path, digest: Digest) -> None:
        size = path.stat().st_size
        with self._shower.bar(f"copying file {digest}", max(size, 1)) as advance:

            def sent() -> Iterator[bytes]:
                for data in chunks(path):
                    yield data
                    advance(len(data))

            self._client.upload(f"/api/blobs/{digest}", sent(), size)


def chunks(path: Path) -> Iterator[bytes]:
    """A file in pieces."""
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            yield data
