"""The page of clients is whole."""

from __future__ import annotations

import re

from tests.clients import npm
from tests.clients.session import CLIENTS, FEATURES
from tests.clients.table import PAGE, cells, page


def test_no_cell_is_missing() -> None:
    """Every client has tried every feature, or says why there is nothing to try."""
    found = cells(PAGE.read_text("utf-8"))

    assert set(found) == {(client, feature) for client in CLIENTS for feature in FEATURES}
    assert all(told in ("yes", "not yet") or told.startswith("– (") for told in found.values())


def test_a_page_can_be_read_again() -> None:
    """What is written is what is read; trouble is "not yet", not its text."""
    outcomes = {client: dict.fromkeys(FEATURES, "no: Error: |x|") for client in CLIENTS}
    outcomes["openai"]["chat"] = "yes"
    outcomes["openai"]["list"] = "– (none)"
    found = cells(page(outcomes))

    assert (found["openai", "chat"], found["openai", "list"]) == ("yes", "– (none)")
    assert found["ollama", "chat"] == "not yet"


def test_clients_of_npm_are_pinned() -> None:
    """To one version each; no lock file beside them, which would name a registry."""
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in npm.pinned().values())
    assert not list(npm.FOLDER.glob("*lock*"))
