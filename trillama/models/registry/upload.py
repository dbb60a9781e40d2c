"""One blob on its way to a registry, in chunks, resumed where the registry says it has got to.

A registry that sends a chunk on to its storage (307) gets it there by PUT, without our token.
Facts: the distribution specification and Ollama's server/upload.go.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

import structlog
import trio

from trillama.base.errors import BadRequest, StoreError
from trillama.base.names import Digest, parse_name

from ..manifest import Layer
from .errors import RegistryError, Transient
from .pace import Patience
from .reply import Reply, refuse
from .session import Ask, Session, patiently
from .source import Source

log = structlog.get_logger(__name__)

CHUNK = 100_000_000
"""Bytes of a chunk: what is lost at most when a connection breaks."""
READ_BYTES = 1 << 20
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,20})")
_BINARY = "application/octet-stream"


class Slice:
    """A range of a file as a body; counts what was taken of it, and its MD5."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self.taken = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self._path = path
        self._start = start
        self._size = size

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        left = self._size - self.taken
        if not left:
            raise StopAsyncIteration
        data = await trio.to_thread.run_sync(self._read, min(left, READ_BYTES))
        self.taken += len(data)
        return data

    def _read(self, count: int) -> bytes:
        with self._path.open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), count, self._start + self.taken)
        if not data:
            raise StoreError(f"{self._path} is shorter than its manifest says")
        self.md5.update(data)
        return data


class Upload:
    """A blob to be uploaded to ``source``.

    Attributes:
        trouble: why nothing goes right now, or "".
    """

    def __init__(self, session: Session, source: Source, layer: Layer, path: Path) -> None:
        self.layer = layer
        self.trouble = ""
        self._session = session
        self._source = source
        self._path = path
        self._digest: Digest = layer.blob
        self._sent = 0
        self._slice: Slice | None = None
        self._sums: list[bytes] = []

    @property
    def completed(self) -> int:
        """Bytes that were sent."""
        return self._sent + (self._slice.taken if self._slice else 0)

    async def run(self, patience: float) -> None:
        """Have the blob in the registry.

        Args:
            patience: seconds to go on trying while nothing goes.

        Raises:
            RegistryError, StoreError: it cannot be brought there.
        """
        place = await patiently(self._open)  # who cannot be reached at all is told so soon
        bearing, tries = Patience(patience, trio.current_time()), 0
        while place is not None:
            before = self._sent
            try:
                place = await self._send_from(place, resumed=tries > 0)
            except Transient as error:
                if self._sent > before:
                    bearing.progress(trio.current_time())
                    tries = 0
                delay = bearing.delay(error, tries, trio.current_time())
                tries += 1
                self.trouble, self._slice = error.message, None
                log.info("chunk failed", digest=self._digest, reason=error.message, again_in=delay)
                await trio.sleep(delay)
        self._sent, self._slice, self.trouble = self.layer.size, None, ""

    async def _send_from(self, place: str, *, resumed: bool) -> str | None:
        """Go on at ``place``; None when all is there, else a place where to begin anew."""
        if resumed and not (place := await self._where_were_we(place)):
            return await self._open()
        while self._sent < self.layer.size:
            place = await self._send_chunk(place)
        await self._commit(place)
        return None

    async def _open(self) -> str | None:
        """Where the blob is to be sent; None if the registry has it."""
        return None if await self._exists() else await self._begin()

    async def _exists(self) -> bool:
        ask = Ask(method="HEAD", url=self._source.blob(self._digest))
        async with await self._session.send(ask) as reply:
            if reply.status == 404:
                return False
            await refuse(reply)
            return True

    async def _begin(self) -> str | None:
        """Open an upload; returns its URL, or None where the registry had the blob elsewhere."""
        query = urlencode({"mount": self._digest, "from": self._sibling})
        url = f"{self._source.base}/blobs/uploads/" + (f"?{query}" if self._sibling else "")
        self._sent, self._sums = 0, []
        headers = {"Content-Length": "0"}
        async with await self._session.send(Ask(method="POST", url=url, headers=headers)) as reply:
            await refuse(reply)
            return None if reply.status == 201 else _place(reply)

    @property
    def _sibling(self) -> str:
        """The repository of the same registry that the layer came from, or ""."""
        try:
            origin = parse_name(self.layer.source)
        except BadRequest:
            return ""
        ours = self._source.name
        same = (origin.namespace, origin.model) == (ours.namespace, ours.model)
        return "" if same or origin.host != ours.host else f"{origin.namespace}/{origin.model}"

    async def _send_chunk(self, place: str) -> str:
        """Send the next chunk; returns where the one after it goes."""
        start, size = self._sent, min(CHUNK, self.layer.size - self._sent)
        headers = {
            "Content-Type": _BINARY,
            "Content-Length": str(size),
            "Content-Range": f"{start}-{start + size - 1}",
            "X-Redirect-Uploads": "1",
        }
        ask = Ask(
            method="PATCH",
            url=place,
            headers=headers,
            content=self._body(start, size),
            follow=False,
        )
        async with await self._session.send(ask) as reply:
            following = _place(reply) if reply.status < 400 else ""
            if reply.status == 307:
                await self._send_on(urljoin(reply.url, reply.headers["location"]), start, size)
            elif reply.status in (404, 416):
                raise Transient(f"the registry has lost the upload ({reply.status})")
            else:
                await refuse(reply)
        assert self._slice
        self._sums.append(self._slice.md5.digest())
        self._sent, self._slice = start + size, None
        self.trouble = ""
        return following

    async def _send_on(self, place: str, start: int, size: int) -> None:
        """Send a chunk to the storage the registry named."""
        headers = {"Content-Type": _BINARY, "Content-Length": str(size)}
        ask = Ask(
            method="PUT", url=place, headers=headers, content=self._body(start, size), follow=False
        )
        async with await self._session.send(ask) as reply:
            await refuse(reply)

    def _body(self, start: int, size: int) -> Callable[[], AsyncIterator[bytes]]:
        def make() -> AsyncIterator[bytes]:
            self._slice = Slice(self._path, start, size)
            return self._slice

        return make

    async def _where_were_we(self, place: str) -> str:
        """Ask how far the upload has got; "" where the registry knows nothing of it any more."""
        async with await self._session.send(Ask(url=place)) as reply:
            found = _RANGE.fullmatch(reply.headers.get("range", ""))
            if reply.status == 404 or not (reply.status == 204 and found):
                return ""
            got = int(found[1]) + 1 if found[1] != "0" else 0
            if got > self.layer.size:
                return ""
            if got != self._sent:
                self._sent, self._sums = got, []
            return _place(reply) if "location" in reply.headers else place

    async def _commit(self, place: str) -> None:
        """Close the upload under the blob's digest."""
        fields = {"digest": str(self._digest)}
        if self._sums:
            total = hashlib.md5(b"".join(self._sums), usedforsecurity=False).hexdigest()
            fields["etag"] = f"{total}-{len(self._sums)}"
        parts = urlsplit(place)
        query = "&".join(filter(None, [parts.query, urlencode(fields)]))
        url = urlunsplit(parts._replace(query=query))
        headers = {"Content-Type": _BINARY, "Content-Length": "0"}
        async with await self._session.send(Ask(method="PUT", url=url, headers=headers)) as reply:
            if reply.status == 404:
                raise Transient("the registry has lost the upload (404)")
            await refuse(reply)


def _place(reply: Reply) -> str:
    """Where an upload goes on.

    Raises:
        RegistryError: the registry does not say.
    """
    headers = reply.headers
    place = headers.get("docker-upload-location") or headers.get("location")
    if not place:
        raise RegistryError("the registry does not say where to upload to")
    return urljoin(reply.url, place)
