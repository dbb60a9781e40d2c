"""Which client can do what: the page docs/clients.md, made by running every session.

``python -m tests.clients.table`` starts a server with the bundled model, runs them all and writes
the page. A test reads it again: what it says works has to work, and no cell is missing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.clients import npm
from tests.clients.session import CLIENTS, FEATURES
from tests.support.served import Process
from tests.support.source import ROOT

PAGE = ROOT / "docs" / "clients.md"
PACKAGES = {
    "langchain_ollama": "langchain-ollama",
    "llm_ollama": "llm-ollama",
    "pydantic_ai": "pydantic-ai-slim",
    "npm:anthropic": "npm:@anthropic-ai/sdk",
}
_INTRODUCTION = """# Clients

Each of these libraries, unmodified, has run one scripted session (`tests/clients/`) against a
server with the bundled model: list the models, chat, stream, call a tool and use its result (the
call streamed too), keep a JSON schema, embed, meet an error, and leave in the middle of a stream,
after which the engine is free. Names are PyPI's, after `npm:` npm's. The page is written by
`python -m tests.clients.table`, and tests hold it to what it says.

"""


def command(client: str, url: str, model: str) -> list[str]:
    """The program of a client's session; features may follow. Lacking if it cannot be had."""
    if client.startswith(npm.PREFIX):
        return npm.command(client, url, model)
    program = ["-W", "ignore", "-m", "tests.clients.session"]
    return [sys.executable, *program, client, url, model]


def outcome(client: str, url: str, model: str) -> dict[str, str]:
    """What came of each feature, by a process of the client's own; Lacking if it cannot be had."""
    program = command(client, url, model)
    ran = subprocess.run(program, input="", capture_output=True, text=True, timeout=300, cwd=ROOT)
    if ran.returncode:
        raise AssertionError(f"{client}: {ran.stderr[-2000:]}")
    found: dict[str, str] = json.loads(ran.stdout.splitlines()[-1])
    return found


def cell(told: str) -> str:
    """An outcome as the page shows it."""
    return told if told == "yes" or told.startswith("–") else "not yet"


def released(client: str) -> str:
    """A client as its registry names it, and its version."""
    name = PACKAGES.get(client, client)
    package = name.removeprefix(npm.PREFIX)
    return f"`{name}` {npm.pinned()[package] if name != package else version(name)}"


def page(outcomes: dict[str, dict[str, str]]) -> str:
    """The text of the page."""
    rows = [
        [released(client), *(cell(found[feature]) for feature in FEATURES)]
        for client, found in outcomes.items()
    ]
    lines = [["client", *FEATURES], ["---"] * (len(FEATURES) + 1), *rows]
    return _INTRODUCTION + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cells(text: str) -> dict[tuple[str, str], str]:
    """What a page says, by client and feature."""
    table = [line.strip("|\n ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    names = {PACKAGES.get(client, client): client for client in CLIENTS}
    return {
        (names[row[0].split("`")[1]], feature): told
        for row in table[2:]
        for feature, told in zip(table[0][1:], row[1:], strict=True)
    }


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        server = Process(Path(folder) / "models")
        try:
            url = f"http://127.0.0.1:{server.port}"
            outcomes = {client: outcome(client, url, "tiny") for client in CLIENTS}
        finally:
            server.close()
    for client, found in outcomes.items():
        for feature, told in found.items():
            sys.stdout.write(f"{client} {feature}: {told}\n")
    PAGE.write_text(page(outcomes), "utf-8")


if __name__ == "__main__":
    main()
