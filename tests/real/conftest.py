"""Real llama.cpp on random models of a few hundred kilobytes, shared by the tests of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.tiny_random import make_tiny
from trillama.engine.base import ContextParams, LoadParams
from trillama.engine.llama import LlamaBackend, LlamaContext, LlamaModel

OpenContext = Callable[..., LlamaContext]

EXACT = {"cache_type_k": "f32", "cache_type_v": "f32", "flash_attention": False}
"""With these, equal tokens give logits equal to 1e-5 however batches are cut."""
SMALL = {
    "cells": 1024, "sequences": 8, "batch": 512, "micro_batch": 128, "outputs": 8, "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="session")
def tiny_random_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with a byte-level vocabulary of 273 tokens, about 500 kB."""
    return make_tiny(tmp_path_factory.mktemp("models") / "tiny-random.gguf")


@pytest.fixture(scope="session")
def backend() -> LlamaBackend:
    """The real backend."""
    return LlamaBackend()


@pytest.fixture(scope="session")
def model(backend: LlamaBackend, tiny_random_path: Path) -> Iterator[LlamaModel]:
    """The random model, loaded once."""
    model = backend.load(str(tiny_random_path), LoadParams())
    yield model
    model.close()


@pytest.fixture(scope="session")
def tiny(backend: LlamaBackend, tiny_model_path: Path) -> Iterator[LlamaModel]:
    """The bundled model, loaded once."""
    model = backend.load(str(tiny_model_path), LoadParams())
    yield model
    model.close()


@pytest.fixture
def open_context(model: LlamaModel) -> Iterator[OpenContext]:
    """Opens contexts on the random model and closes them after the test."""
    opened: list[LlamaContext] = []

    def open_one(**params: object) -> LlamaContext:
        opened.append(model.open_context(ContextParams(**(SMALL | EXACT | params))))
        return opened[-1]

    yield open_one
    for context in opened:
        context.close()


@pytest.fixture
def context(open_context: OpenContext) -> LlamaContext:
    """An empty context of 1024 cells, 8 sequences, 8 rows of logits."""
    return open_context()
