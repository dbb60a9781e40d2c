"""The command line's HTTP client against answers that no sound server gives."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trillama.base.address import parse_host
from trillama.base.errors import TrillamaError
from trillama.commands.client import BrokenOff, Client, ServerRefused

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OF_99_BYTES = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
FIRST = b'{"response":"It"}\n'


@contextmanager
def answered_with(data: bytes) -> Iterator[Client]:
    """A client of a server that says just this and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(data)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield Client(parse_host(f"127.0.0.1:{server.getsockname()[1]}"))
        finally:
            thread.join()


def chunks(*parts: bytes) -> bytes:
    """The head of an answer and parts of its body."""
    return CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(chunks(FIRST), id="between two pieces"),
        pytest.param(chunks(FIRST) + b"20\r\n{", id="in a piece"),
        pytest.param(OF_99_BYTES + FIRST, id="before its length"),
    ],
)  # fmt: skip
def test_an_answer_that_breaks_off_is_no_answer(data: bytes) -> None:
    """What came is shown; then it is an error, wherever the connection ended."""
    with answered_with(data) as client:
        records = client.stream("/api/generate", {})
        assert next(records) == {"response": "It"}
        with pytest.raises(BrokenOff, match="before the end"):
            next(records)
    with answered_with(data) as client, pytest.raises(BrokenOff, match="before the end"):
        client.call("POST", "/api/generate", {})


def test_an_answer_comes_line_by_line_however_it_is_cut() -> None:
    """Lines are not pieces; blank ones are none, and the last may lack its end."""
    data = chunks(b'{"a":1}\n\n{"b"', b":2}\n", b'{"c":3}') + b"0\r\n\r\n"
    with answered_with(data) as client:
        assert list(client.stream("/api/generate", {})) == [{"a": 1}, {"b": 2}, {"c": 3}]


def test_a_line_that_is_no_record_is_the_error() -> None:
    """Something between us and the server has spoken."""
    data = chunks(b"upstream timed out\n") + b"0\r\n\r\n"
    with answered_with(data) as client, pytest.raises(ServerRefused, match="upstream timed out"):
        list(client.stream("/api/generate", {}))


def test_a_page_is_no_answer() -> None:
    """Another program listens there; whatever was asked, that is one error."""
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"
    with answered_with(page) as client, pytest.raises(TrillamaError, match="is not JSON"):
        client.call("GET", "/api/tags")
