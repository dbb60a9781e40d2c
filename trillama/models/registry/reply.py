"""An answer of a registry, with suspicion: bounded, and its trouble in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from urllib.parse import urlsplit

import httpcore
import trio

from .errors import Missing, RegistryError, Transient, Unauthorized, printable

WORDS_CAP = 8 << 10
WORDS_TIMEOUT = 15.0
MOST_RETRY_AFTER = 3600.0
_PASSING = (408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524)


class Reply:
    """An answer whose body is still to come; leave it to give the connection back.

    Attributes:
        url: where it came from in the end.
        headers: names in lower case.
    """

    def __init__(self, response: httpcore.Response, url: str) -> None:
        self._response = response
        self._chunks = response.aiter_stream()
        self._begun = self._over = False
        self.url = url
        self.status = response.status
        self.headers = {
            name.decode("latin1").lower(): value.decode("latin1")
            for name, value in response.headers
        }

    async def __aenter__(self) -> Reply:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._response.aclose()
        # The library's generators end by meeting the closed connection, not at some later time.
        while self._begun and not self._over:
            with suppress(RegistryError):
                await self.read_some()

    async def read_some(self) -> bytes:
        """What has come of the body, at least a byte; nothing at its end.

        Raises:
            Transient: the connection broke, went silent, or ended early.
        """
        self._begun = True
        over, self._over = self._over, True
        with translated(self.url):
            chunk = b"" if over else await anext(self._chunks, b"")
        self._over = not chunk
        return chunk

    async def read(self, cap: int) -> bytes:
        """The whole body.

        Raises:
            RegistryError: more than ``cap`` bytes.
            Transient: as ``read_some``, or it took too long.
        """
        length = self.headers.get("content-length", "")
        found = bytearray()
        too_large = length.isdigit() and int(length) > cap
        while not too_large and (chunk := await self.read_some()):
            found += chunk
            too_large = len(found) > cap
        if too_large:
            raise RegistryError(f"{host_of(self.url)} sends more than {cap} bytes")
        return bytes(found)

    async def words(self) -> str:
        """The beginning of the body, to be shown."""
        found = bytearray()
        with suppress(RegistryError), trio.move_on_after(WORDS_TIMEOUT):
            while len(found) < WORDS_CAP and (chunk := await self.read_some()):
                found += chunk
        return printable(bytes(found[:WORDS_CAP]))


def host_of(url: str) -> str:
    """Host and port, for messages and comparisons."""
    return urlsplit(url).netloc.rpartition("@")[2]


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn the HTTP library's trouble with ``url`` into ours."""
    try:
        yield
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProxyError) as error:
        reason = str(error) or type(error).__name__
        raise Transient(f"{host_of(url)}: {reason}") from error
    except httpcore.ProtocolError as error:
        raise Transient(f"{host_of(url)} breaks the protocol: {error}") from error
    except (httpcore.UnsupportedProtocol, ValueError) as error:
        raise RegistryError(f"{printable(url.encode())} cannot be asked: {error}") from None


async def refuse(reply: Reply) -> None:
    """See that an answer is a success.

    Raises:
        Missing: 404.
        Unauthorized: 401, 403.
        Transient: a status that may pass.
        RegistryError: any other; with the registry's words.
    """
    if reply.status < 300:
        return
    if reply.status == 404:
        raise Missing("file does not exist")
    text = f"{reply.status}: {await reply.words()}"
    if reply.status in (401, 403):
        raise Unauthorized(text)
    if reply.status in _PASSING:
        raise Transient(text, _seconds(reply.headers.get("retry-after", "")))
    raise RegistryError(text)


def _seconds(text: str) -> float:
    return min(float(text), MOST_RETRY_AFTER) if text.isascii() and text.isdigit() else 0.0
