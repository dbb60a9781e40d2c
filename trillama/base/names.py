"""Model names and content digests: the only two things a path of the store is built from.

A ``ModelName`` or ``Digest`` that exists is valid, so nothing downstream checks again and no text
from a client, a manifest or a registry reaches the file system in any other shape. Grammar and
defaults: Ollama's types/model/name.go; source suffixes: its internal/modelref.
"""

from __future__ import annotations

import enum
import re

import msgspec

from .errors import BadRequest, InvalidName

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_PART_RULES = (_HOST, _NAMESPACE, _WORD, _WORD)
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


class Digest(str):
    """``sha256:`` and 64 lower-case hex digits; no other text can be a Digest.

    Accepts ``-`` for ``:`` and upper-case hex, as Ollama does, and normalises both.

    Raises:
        BadRequest: "invalid digest format".
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        found = _DIGEST.fullmatch(text)
        if not found:
            raise BadRequest("invalid digest format")
        return super().__new__(cls, f"sha256:{found[1].lower()}")

    @classmethod
    def of_file(cls, name: str) -> Digest | None:
        """The digest that a file of the blobs folder is named for; None if it is no whole blob."""
        try:
            digest = cls(name)
        except BadRequest:
            return None
        return digest if digest.file_name == name else None

    @property
    def hex(self) -> str:
        """The 64 digits alone."""
        return self[len("sha256:") :]

    @property
    def file_name(self) -> str:
        """Name of the blob's file, ``sha256-<hex>``."""
        return f"sha256-{self.hex}"


class ModelName(msgspec.Struct, frozen=True, order=True):
    """A fully qualified, valid name; the case of each part is kept.

    Raises:
        InvalidName: a part breaks the grammar.
    """

    host: str
    namespace: str
    model: str
    tag: str

    def __post_init__(self) -> None:
        for rule, part in zip(_PART_RULES, self.parts, strict=True):
            if not rule.fullmatch(part):
                raise InvalidName

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """Host, namespace, model and tag: the path of the manifest below ``manifests/``."""
        return self.host, self.namespace, self.model, self.tag

    @property
    def folded(self) -> tuple[str, ...]:
        """Parts in lower case; two names are the same model when these are equal."""
        return tuple(part.lower() for part in self.parts)

    @property
    def full(self) -> str:
        """``host/namespace/model:tag``."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def short(self) -> str:
        """What people see: default host and namespace dropped, the tag always shown."""
        text = f"{self.model}:{self.tag}"
        if self.host.lower() != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{text}"
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{text}"
        return text

    def __str__(self) -> str:
        return self.short


def parse_name(text: str) -> ModelName:
    """Read ``[scheme://][host/][namespace/]model[:tag]``; the scheme is dropped.

    Raises:
        InvalidName.
    """
    rest, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        rest, tag = text, DEFAULT_TAG
    rest, slash, model = rest.rpartition("/")
    if not slash:
        return ModelName(DEFAULT_HOST, DEFAULT_NAMESPACE, model, tag)
    host, slash, namespace = rest.rpartition("/")
    if not slash:
        return ModelName(DEFAULT_HOST, namespace, model, tag)
    return ModelName(host.rpartition("://")[2], namespace, model, tag)


class Source(enum.StrEnum):
    """Where a reference wants its model to run."""

    ANY = "any"
    LOCAL = "local"
    CLOUD = "cloud"


class ModelReference(msgspec.Struct, frozen=True):
    """A name as a client wrote it, its source suffix and its pin taken off.

    Attributes:
        digest: of the manifest the name must mean; None where any will do.
        tagged: the tag was written, not filled in.
    """

    name: ModelName
    source: Source = Source.ANY
    digest: Digest | None = None
    tagged: bool = True

    @property
    def short(self) -> str:
        """The name as people see it, with its pin."""
        return f"{self.name.short}@{self.digest}" if self.digest else self.name.short


def _split_source(text: str) -> tuple[str, Source]:
    base, colon, last = text.rpartition(":")
    word = last.strip().lower()
    if colon and word in (Source.LOCAL, Source.CLOUD):
        return base, Source(word)
    if colon and "/" not in word and word.endswith("-cloud"):
        return f"{base}:{last.strip()[: -len('-cloud')]}", Source.CLOUD
    return text, Source.ANY


def _split_pin(text: str) -> tuple[str, Digest | None]:
    base, at, pin = text.partition("@")
    if not at:
        return text, None
    try:
        return base, Digest(pin)
    except BadRequest:
        raise InvalidName from None


def parse_pinned(text: str) -> ModelReference:
    """Read a name that may be pinned but has no source suffix and no blanks around it.

    Raises:
        InvalidName.
    """
    base, digest = _split_pin(text)
    tagged = ":" in base.rpartition("/")[2]
    return ModelReference(parse_name(base), Source.ANY, digest, tagged)


def parse_reference(text: str) -> ModelReference:
    """Read a model field of a request: a name that may end in ``:local``, ``:cloud``, ``-cloud``,
    and may be pinned to one manifest by ``@sha256:`` and its 64 digits.

    Raises:
        InvalidName: it breaks the grammar.
        BadRequest: "model is required", or two suffixes at once.
    """
    plain = text.strip()
    if not plain:
        raise BadRequest("model is required")
    unpinned, digest = _split_pin(plain)
    base, source = _split_source(unpinned)
    if source is not Source.ANY and _split_source(base)[1] is not Source.ANY:
        raise BadRequest(f'use either :local or :cloud, not both: "{plain}"')
    tagged = ":" in base.rpartition("/")[2]
    return ModelReference(parse_name(base), source, digest, tagged)
