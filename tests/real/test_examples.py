"""The programs in examples/ do what they say, on a server with the bundled model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.served import Process
from tests.support.source import ROOT


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Process]:
    """One server for all of them."""
    running = Process(tmp_path_factory.mktemp("examples") / "models")
    yield running
    running.close()


def run(server: Process, name: str, *arguments: str, told: str = "") -> str:
    """What a program prints."""
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    url = f"http://127.0.0.1:{server.port}"
    ran = subprocess.run(
        [*command, "--url", url], input=told, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_chat_with_a_warm_up(server: Process) -> None:
    """Questions from the command line or from standard input; the model is loaded and stays."""
    question = "What is the capital of France?"
    answers = run(server, "ollama_chat.py", question)

    assert "Paris" in answers
    assert server.loaded() == ["tiny:latest"]
    assert run(server, "ollama_chat.py", told=f"{question}\n") == answers


def test_tools_with_the_openai_client(server: Process) -> None:
    """A call is made, its result is told."""
    called, *answer = run(server, "openai_tools.py").splitlines()

    assert called.startswith("get_weather({'city': ")
    assert "".join(answer)


def test_fields_out_of_text(server: Process) -> None:
    """Whatever the model says, every field is there, of its type."""
    text = "Dear hotel, this is Anna Berg from Oslo. We are three and come on Friday."
    found = json.loads(run(server, "json_extraction.py", told=text))

    assert list(found) == ["name", "city", "guests", "urgent"]
    assert [type(value) for value in found.values()] == [str, str, int, bool]


def test_every_example_is_run_by_a_test() -> None:
    """None is there only to be read."""
    tests = [path.read_text("utf-8") for path in (ROOT / "tests" / "real").glob("*.py")]
    missing = [
        path.name
        for path in (ROOT / "examples").glob("*.py")
        if not any(path.name in text for text in tests)
    ]
    assert missing == []
