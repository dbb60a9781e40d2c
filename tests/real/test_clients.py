"""Other people's clients, unmodified, against a server with the bundled model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import npm
from tests.clients.session import CLIENTS, Lacking
from tests.clients.table import PAGE, cells, outcome
from tests.support.served import Process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Process]:
    """One server for all of them."""
    running = Process(tmp_path_factory.mktemp("clients") / "models")
    yield running
    running.close()


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_does_what_the_page_says(server: Process, client: str) -> None:
    """docs/clients.md says "yes" only where the session goes through; the server is at rest after
    it, also where the client has left in the middle."""
    try:
        found = outcome(client, f"http://127.0.0.1:{server.port}", "tiny")
    except Lacking as error:
        pytest.skip(str(error))
    page = cells(PAGE.read_text("utf-8"))
    wrong = {
        feature: told
        for feature, told in found.items()
        if page[client, feature] == "yes" and told != "yes"
    }

    assert wrong == {}
    assert server.chat("Hello!", think=False, num_predict=5)[-1]["done"]


@pytest.mark.slow
def test_nothing_unpinned_comes_from_npm() -> None:
    """What is installed is what package.json names, and nothing that those need beside it."""
    try:
        folder = npm.installed()
    except Lacking as error:
        pytest.skip(str(error))
    described = [*folder.glob("[!@.]*/package.json"), *folder.glob("@*/*/package.json")]
    packages = [json.loads(path.read_text("utf-8")) for path in described]

    assert {one["name"]: one["version"] for one in packages} == npm.pinned()
