"""While an answer is awaited the terminal shows a sign of life, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.scripted import Scripted, scripted_server
from trillama.base.address import parse_host
from trillama.commands.client import Client, ServerDown
from trillama.commands.waiting import await_server, awaited, loading


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A loopback server for one test."""
    with scripted_server() as script:
        yield script


def client(port: int) -> Client:
    return Client(parse_host(f"127.0.0.1:{port}"))


def test_a_load_tells_how_far_it_is(scripted: Scripted) -> None:
    """By the server's list of what is on its way; other models do not count."""
    loads = [{"name": "big:latest", "progress": 0.25}]
    scripted.answers["/api/ps"] = 200, {"models": [], "loading": loads}
    assert loading(client(scripted.port), "big") == 0.25
    assert loading(client(scripted.port), "tiny") is None
    scripted.answers["/api/ps"] = 500, {"error": "no"}
    assert loading(client(scripted.port), "big") is None


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_records_pass_unchanged(
    terminal: bool, count: int, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a spinner and without, however many there are."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    records: list[dict[str, Any]] = [{"n": n} for n in range(count)]
    got = list(awaited(client(scripted.port), "m", iter(records), quiet=False))
    assert got == records


def test_an_answer_given_up_is_closed(scripted: Scripted) -> None:
    """Closing what is shown closes what comes from the server."""
    closed: list[bool] = []

    def records() -> Iterator[dict[str, Any]]:
        try:
            yield {"n": 1}
            yield {"n": 2}
        finally:
            closed.append(True)

    shown = awaited(client(scripted.port), "m", records(), quiet=True)
    assert next(shown) == {"n": 1}
    shown.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_a_server_that_stays_away_is_not_waited_for_for_ever() -> None:
    """The usual words, once the patience is used up."""
    with pytest.raises(ServerDown):
        await_server(client(9), patience=0)


def test_a_server_that_is_back_ends_the_wait(scripted: Scripted) -> None:
    """At the first look."""
    await_server(client(scripted.port))
