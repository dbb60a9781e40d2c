"""Where a model's manifest and blobs are: URLs of one repository, and how they are asked for."""

from __future__ import annotations

from types import TracebackType

import msgspec

from trillama.base.names import Digest, ModelName
from trillama.base.registries import Registry

from .reply import Reply
from .session import Ask, Session, Ways

Span = tuple[int, int]
"""First byte, and the one behind the last."""

_STALE = (400, 401, 403, 404, 410)
"""What storage answers to a signed address that is no longer good."""


class Source(msgspec.Struct, frozen=True):
    """A repository of a registry."""

    registry: Registry
    ways: Ways
    name: ModelName

    @property
    def base(self) -> str:
        """URL of the repository."""
        return f"{self.registry.base}/v2/{self.name.namespace}/{self.name.model}"

    @property
    def manifest(self) -> str:
        """URL of the manifest."""
        return f"{self.base}/manifests/{self.name.tag}"

    def blob(self, digest: Digest) -> str:
        """URL of a blob."""
        return f"{self.base}/blobs/{digest}"

    def session(self, connections: int = 1) -> Session:
        """A new conversation with the registry."""
        return Session(self.registry, self.ways, connections)


class BlobReader:
    """Reads one blob, in ranges.

    A registry mostly answers with a redirect to its storage; where that led is asked directly as
    long as it answers.
    """

    def __init__(self, source: Source, digest: Digest, connections: int) -> None:
        self._home = source.blob(digest)
        self._direct = ""
        self._session = source.session(connections)

    async def __aenter__(self) -> BlobReader:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.__aexit__(kind, error, traceback)

    async def open(self, span: Span | None, silence: float) -> Reply:
        """Ask for a range, or for all of it when ``span`` is None; any status comes back.

        Raises:
            RegistryError: see ``Session.send``.
        """
        headers = {"Range": f"bytes={span[0]}-{span[1] - 1}"} if span else {}
        if direct := self._direct:
            reply = await self._session.send(Ask(url=direct, headers=headers, silence=silence))
            if reply.status not in _STALE:
                return reply
            self._direct = ""
            async with reply:
                pass
        reply = await self._session.send(Ask(url=self._home, headers=headers, silence=silence))
        if reply.status < 300 and reply.url != self._home:
            self._direct = reply.url
        return reply
