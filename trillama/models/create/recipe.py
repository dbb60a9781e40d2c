"""What is to be created, in neutral words: nothing here has been looked for on a disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trillama.base.errors import BadRequest, InvalidName, Unsupported
from trillama.base.messages import Message
from trillama.base.names import Digest, ModelName, ModelReference, Source, parse_reference

from ..modelfile import Instructions

UPLOADED = "@"
"""In a Modelfile of an API: ``FROM @sha256:…`` names a file by the digest it was uploaded under."""


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """Facts told by the client that win over those of the weights; empty where untold."""

    capabilities: tuple[str, ...] = ()
    model_family: str = ""
    base_name: str = ""
    quantization_level: str = ""
    parameter_size: str = ""
    context_length: int = 0
    embedding_length: int = 0


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """A model to be.

    Attributes:
        base: the model it is made from; wins over ``files``.
        files, adapters, drafts: GGUF files of the blobs folder by the names clients know them by;
            None where the client did not say, which is not the same as none.
        parameters: laid over those of the base, one by one.
        messages, template, system: in place of the base's, where not empty.
        licenses: beside the base's.
    """

    name: ModelName
    base: ModelReference | None = None
    files: dict[str, Digest] | None = None
    adapters: dict[str, Digest] = {}
    drafts: dict[str, Digest] = {}
    template: str = ""
    system: str = ""
    licenses: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    messages: tuple[Message, ...] = ()
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    info: Info = Info()


def checked_files(files: Mapping[str, str]) -> dict[str, Digest]:
    """Names and digests of a request.

    Raises:
        BadRequest: a name is no clean relative path, or a digest is none.
    """
    for name in files:
        parts = name.split("/")
        if not name or "\0" in name or {"", ".", ".."} & set(parts):
            raise BadRequest("file path must be relative")
    return {name: Digest(digest) for name, digest in files.items()}


def base_reference(text: str) -> ModelReference:
    """The model a ``from`` means.

    Raises:
        BadRequest: it names none.
        Unsupported: it names one that runs elsewhere.
    """
    reference = parse_reference(text)
    if reference.source is Source.CLOUD:
        raise Unsupported("not supported by this version of trillama: models that run elsewhere")
    return reference


def read_info(fields: Mapping[str, Any]) -> Info:
    """``info`` of a request.

    Raises:
        BadRequest: a field has the wrong type; the message names it.
    """
    texts = ("model_family", "base_name", "quantization_level", "parameter_size")
    counts = ("context_length", "embedding_length")
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name in texts and not isinstance(value, str):
            raise BadRequest(f'info field "{name}" must be a string')
        if name in counts:
            value = _count(name, value)
        if name == "capabilities":
            value = _words(value)
        if name in Info.__struct_fields__:
            found[name] = value
    return Info(**found)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f'info field "{name}" must be a number')
    if not 0 <= value < 2**63 or value != int(value):
        raise BadRequest(f'info field "{name}" must be a non-negative integer')
    return int(value)


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadRequest('info field "capabilities" must be a list of strings')
    return tuple(value)


def recipe_of_modelfile(name: ModelName, said: Instructions) -> Recipe:
    """What a Modelfile sent to a server asks for.

    Raises:
        BadRequest: it names a path, which only means something where it was written.
    """
    bases = [one for one in said.bases if not one.startswith(UPLOADED)]
    if len(bases) > 1:
        raise BadRequest("a modelfile can name one model only; upload files and name their digests")
    return Recipe(
        name=name,
        base=_named(bases[0]) if bases else None,
        files=_uploaded(said.bases, "model") or None,
        adapters=_uploaded(said.adapters, "adapter", only=True),
        drafts=_uploaded(said.drafts, "draft", only=True),
        template=said.template,
        system=said.system,
        licenses=said.licenses,
        parameters=said.parameters,
        messages=said.messages,
        renderer=said.renderer,
        parser=said.parser,
        requires=said.requires,
    )


def _named(text: str) -> ModelReference:
    if text.startswith((".", "/", "~", "\\")) or text.lower().endswith(".gguf"):
        raise _is_path(text)
    try:
        return base_reference(text)
    except InvalidName:
        raise _is_path(text) from None


def _is_path(text: str) -> BadRequest:
    return BadRequest(
        f"{text!r} in a modelfile is a path; a server reads no paths: upload the file to "
        "/api/blobs and name it in files, or use the command line"
    )


def _uploaded(values: tuple[str, ...], stem: str, *, only: bool = False) -> dict[str, Digest]:
    found: dict[str, Digest] = {}
    for number, value in enumerate(values, 1):
        if value.startswith(UPLOADED):
            found[f"{stem}{number}.gguf"] = Digest(value.removeprefix(UPLOADED))
        elif only:
            raise _is_path(value)
    return found
