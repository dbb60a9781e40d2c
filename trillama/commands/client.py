"""The command line's HTTP client: plain JSON calls and streams of JSON lines.

The standard library's client, because a command like ``list`` should answer before a larger one
has been imported. Error texts follow Ollama's client: a plain call shows the server's words, a
refused stream puts the status line in front of them.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

import msgspec

from trillama import __version__
from trillama.base.address import Address
from trillama.base.errors import TrillamaError

MAX_LINE = 8 * 1000 * 1000
PIECE = 1 << 16
"""Bytes taken from the connection at once, if so many are there."""
_NO_TEXT = re.compile("[\ud800-\udfff]")
"""What Python makes of bytes that are no text."""
CONNECT_TIMEOUT = 10.0


class ServerDown(TrillamaError):
    """Nobody listens at the configured address."""

    code = "server_down"

    def __init__(self) -> None:
        super().__init__("could not connect to trillama server, run 'trillama serve' to start it")


class ServerRefused(TrillamaError):
    """The server answered with an error.

    Attributes:
        status: its HTTP status, 200 for an error in the middle of a stream.
        reason: its words without the status line.
        signin_url: where to sign in, if that is what is missing.
    """

    code = "server_refused"
    signin_url = ""

    def __init__(self, status: int, reason: str, *, streaming: bool = False) -> None:
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
        super().__init__(f"{status} {phrase}: {reason}" if streaming else reason)
        self.status = status
        self.reason = reason


class BrokenOff(TrillamaError):
    """The connection ended before the answer did."""

    code = "server_went_away"

    def __init__(self, why: str = "") -> None:
        super().__init__(f"the server went away before the end of its answer{why and ': '}{why}")


class Client:
    """Calls to one server; each call has a connection of its own.

    Args:
        address: where it is.
        patience: seconds to wait for its next bytes; None waits as long as a model may take.
    """

    def __init__(self, address: Address, patience: float | None = None) -> None:
        self.address = address
        self._patience = patience
        self._base = msgspec.structs.replace(address, host=address.reachable)

    def _connect(self) -> http.client.HTTPConnection:
        secure = self.address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return kind(self._base.host, self._base.port, timeout=self._patience or CONNECT_TIMEOUT)

    def _open(
        self, method: str, path: str, body: Any
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = self._connect()
        payload = None if body is None else _encoded(body)
        headers = {"User-Agent": f"trillama/{__version__}", "Content-Type": "application/json"}
        try:
            connection.connect()
            connection.sock.settimeout(self._patience)
            connection.request(method, self._base.path + path, payload, headers)
            return connection, connection.getresponse()
        except ConnectionRefusedError:
            connection.close()
            raise ServerDown from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise TrillamaError(f"{self.address.url}{path}: {error}") from None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One JSON call; None for an empty answer.

        Raises:
            ServerDown: nobody listens.
            ServerRefused: status 400 or above.
            BrokenOff: the answer has no end.
        """
        connection, response = self._open(method, path, body)
        try:
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise _broken_off(error) from None
        finally:
            connection.close()
        if response.status >= 400:
            refused = ServerRefused(response.status, _reason(text))
            refused.signin_url = _field(text, "signin_url")
            raise refused
        try:
            return msgspec.json.decode(text) if text.strip() else None
        except msgspec.DecodeError:  # another program's page, say
            raise TrillamaError(f"{self.address.url}{path}: the answer is not JSON") from None

    def stream(self, path: str, body: Any) -> Iterator[dict[str, Any]]:
        """Records of a JSON-lines answer, as they come; closing the iterator hangs up.

        Raises:
            ServerDown, ServerRefused, BrokenOff: as ``call``; also for an error line in the
                stream, or one that is not JSON.
        """
        connection, response = self._open("POST", path, body)
        try:
            if response.status >= 400:
                raise ServerRefused(response.status, _reason(response.read()), streaming=True)
            for line in _lines(response):
                record = _record(line)
                if record.get("error"):
                    raise ServerRefused(200, record["error"])
                yield record
        except (OSError, http.client.HTTPException) as error:
            raise _broken_off(error) from None
        finally:
            connection.close()

    def exists(self, path: str) -> bool:
        """Whether the server has what ``path`` names.

        Raises:
            ServerDown: nobody listens.
        """
        connection, response = self._open("HEAD", path, None)
        connection.close()
        return response.status < 400

    def upload(self, path: str, data: Iterable[bytes], size: int) -> None:
        """Send ``size`` bytes as they are.

        Raises:
            ServerDown, ServerRefused: as ``call``.
        """
        connection = self._connect()
        headers = {"User-Agent": f"trillama/{__version__}", "Content-Length": str(size)}
        try:
            connection.connect()
            connection.sock.settimeout(self._patience)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", self._base.path + path, data, headers)
            response = connection.getresponse()  # a server that takes no more has said why
            text = response.read()
        except ConnectionRefusedError:
            raise ServerDown from None
        except (OSError, http.client.HTTPException) as error:
            raise TrillamaError(f"{self.address.url}{path}: {error}") from None
        finally:
            connection.close()
        if response.status >= 400:
            raise ServerRefused(response.status, _reason(text))

    def check(self) -> None:
        """Make sure that a server listens.

        Raises:
            ServerDown: nobody listens.
        """
        self.call("HEAD", "/")


def _encoded(body: Any) -> bytes:
    """A body as JSON; bytes of an argument that are no text become U+FFFD, as in Ollama."""
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        return _NO_TEXT.sub("\ufffd", json.dumps(body, ensure_ascii=False)).encode()


def _broken_off(error: Exception) -> BrokenOff:
    incomplete = isinstance(error, http.client.IncompleteRead)
    return BrokenOff("" if incomplete else str(error))


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The lines of an answer that are not blank.

    Not by ``readline``, which takes a connection that breaks off for the end of the answer.

    Raises:
        IncompleteRead: that happened.
        TrillamaError: a line is longer than MAX_LINE.
    """
    rest = b""
    while data := response.read1(PIECE):
        *whole, rest = (rest + data).split(b"\n")
        yield from filter(bytes.strip, whole)
        if len(rest) > MAX_LINE:
            raise TrillamaError(f"the server sent a line of more than {MAX_LINE} bytes")
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    if rest.strip():
        yield rest


def _record(line: bytes) -> dict[str, Any]:
    with contextlib.suppress(msgspec.DecodeError):
        record = msgspec.json.decode(line)
        if isinstance(record, dict):
            return record
    raise ServerRefused(200, line.decode("utf-8", "replace").strip())


def _reason(body: bytes) -> str:
    plain = body.decode("utf-8", "replace").strip()
    return _field(body, "error") or plain or "the server gave no reason"


def _field(body: bytes, name: str) -> str:
    try:
        return str(msgspec.json.decode(body).get(name, ""))
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError):
        return ""
