"""Pull, push and sign-in on the command line, with a server that follows a script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from trillama.base.errors import TrillamaError
from trillama.commands.client import ServerRefused
from trillama.commands.pull import print_urls, pull_model, pulling
from trillama.commands.push import push_model
from trillama.commands.signin import sign_in, sign_out, who_am_i

DIGEST = "sha256:" + "ab" * 32


class Server:
    """Answers calls by path; an error is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {f"/api/{path}": answer for path, answer in answers.items()}
        self.asked: list[tuple[str, Any]] = []

    def call(self, method: str, path: str, body: Any = None) -> Any:
        self.asked.append((path, body))
        if isinstance(answer := self.answers[path], Exception):
            raise answer
        return answer

    def stream(self, path: str, body: Any) -> Iterator[Any]:
        self.asked.append((path, body))
        for line in self.answers[path]:
            if isinstance(line, Exception):
                raise line
            yield line


def signed_out(url: str = "https://ollama.com/connect?x") -> ServerRefused:
    error = ServerRefused(401, "unauthorized")
    error.signin_url = url
    return error


LINES = [
    {"status": "pulling manifest"},
    {"status": "pulling abababababab", "digest": DIGEST, "total": 4_700_000_000},
    {"status": "pulling abababababab", "digest": DIGEST, "total": 4_700_000_000, "completed": 1},
    {"status": "retrying abababababab: timed out"},
    {"status": "pulling abababababab", "digest": DIGEST, "total": 10, "completed": 4_700_000_000},
    {"status": "verifying sha256 digest"},
    {"status": "success"},
]


def test_a_pull_off_a_terminal_is_a_few_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Each step and each blob is one line on standard error, without escape sequences."""
    server = Server(pull=LINES)
    pull_model(server, "m", insecure=True)  # type: ignore[arg-type]
    out, err = capsys.readouterr()

    assert server.asked == [("/api/pull", {"model": "m", "insecure": True})]
    assert out == ""
    assert err.splitlines() == [
        "pulling manifest",
        "pulling abababababab: 4.7 GB",
        "retrying abababababab: timed out",
        "verifying sha256 digest",
        "success",
    ]


def test_urls_are_printed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """One a line, for other programs."""
    server = Server(pull={"blobs": [{"digest": DIGEST, "url": "https://h/a"}]})
    assert print_urls(server, "m") == "https://h/a\n"  # type: ignore[arg-type]


def test_what_is_missing_is_pulled_once() -> None:
    """``run`` of a model that is not there pulls it; any other error is the error."""
    server = Server(pull=LINES)
    tries = [ServerRefused(404, "model 'm' not found", streaming=True), None]

    def work() -> None:
        if (error := tries.pop(0)) is not None:
            raise error

    pulling(server, "m", work, insecure=False)  # type: ignore[arg-type]
    assert tries == []
    assert [path for path, _ in server.asked] == ["/api/pull"]
    tries = [ServerRefused(400, "no")]
    with pytest.raises(ServerRefused, match="no"):
        pulling(server, "m", work, insecure=False)  # type: ignore[arg-type]


def test_a_push_says_where_the_model_is() -> None:
    """The last words are those of Ollama."""
    server = Server(push=LINES)
    text = push_model(server, "localhost:5000/me/m")  # type: ignore[arg-type]
    assert text == "\nYou can find your model at:\n\n\tlocalhost:5000/me/m:latest\n"
    server = Server(push=LINES, me={"name": "me"})
    text = push_model(server, "me/m")  # type: ignore[arg-type]
    assert text.endswith("\thttps://ollama.com/me/m\n")


def test_a_push_nobody_may_do() -> None:
    """A refusal of the registry's is put into words that help."""
    server = Server(push=[ServerRefused(200, "unauthorized: access denied")])
    with pytest.raises(TrillamaError, match="you are not authorized to push to this namespace"):
        push_model(server, "h/me/m")  # type: ignore[arg-type]


def test_a_push_to_ollama_needs_somebody_signed_in() -> None:
    """Told before a byte is sent."""
    server = Server(me=signed_out(), push=LINES)
    text = push_model(server, "me/m")  # type: ignore[arg-type]
    assert "signed in" in text
    assert "https://ollama.com/connect?x" in text
    assert [path for path, _ in server.asked] == ["/api/me"]


def test_who_is_signed_in() -> None:
    """Signed in, signed out, and a service that cannot be asked."""
    there = Server(me={"name": "ann"}, signout=None)
    nobody = Server(me=signed_out(), signout=ServerRefused(401, "not signed in"))
    broken = Server(me=ServerRefused(503, "account unavailable"))

    assert "already signed in as user 'ann'" in sign_in(there)  # type: ignore[arg-type]
    assert "https://ollama.com/connect?x" in sign_in(nobody)  # type: ignore[arg-type]
    assert who_am_i(there) == "ann"  # type: ignore[arg-type]
    assert "not signed in" in who_am_i(nobody)  # type: ignore[arg-type]
    assert "signed out" in sign_out(there)  # type: ignore[arg-type]
    assert "not signed in" in sign_out(nobody)  # type: ignore[arg-type]
    with pytest.raises(ServerRefused, match="unavailable"):
        sign_in(broken)  # type: ignore[arg-type]
