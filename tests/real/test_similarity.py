"""The similarity example, as it is run: real weights, the official client, a folder of text."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.house import houses, model
from tests.support.minilm import checkpoint
from tests.support.source import ROOT
from trillama.engine.llama import LlamaBackend
from trillama.models.convert import convert

build = pytest.fixture(houses)

NOTES = {
    "garden.md": "# Garden\n\nPear trees are pruned in late winter.\n\nTulips like dry soil.\n",
    "kitchen.txt": "Bread needs flour, water, salt and time.\n\n\nSoup is boiled slowly.\n",
    "more/money.txt": "The bank raised interest rates again.\n",
    "ignored.bin": "Pear trees, pear trees, pear trees.\n",
}
QUESTIONS = {
    "When do I cut my fruit trees?": "garden.md:3",
    "How is a loaf made?": "kitchen.txt:1",
    "Are loans getting more expensive?": "money.txt:1",
}


async def test_it_finds_what_is_meant(build: Callable[..., Any], tmp_path: Path) -> None:
    """Each question finds its paragraph although they share hardly a word."""
    for name, text in NOTES.items():
        path = tmp_path / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    weights = convert(checkpoint(), tmp_path / "minilm.gguf")
    minilm = model("all-minilm", weights=weights, capabilities=("embedding",))
    house = await build(minilm, backend=LlamaBackend())
    program = [sys.executable, str(ROOT / "examples" / "similarity.py"), str(tmp_path / "notes")]

    def run(question: str) -> str:
        done = subprocess.run(
            [*program, question, "--top", "1"],
            env=os.environ | {"OLLAMA_HOST": house.url},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    for question, place in QUESTIONS.items():
        assert place in await trio.to_thread.run_sync(run, question)
