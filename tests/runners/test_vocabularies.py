"""Vocabularies without their models: shared, bounded, never freed while somebody reads them."""

from __future__ import annotations

import threading

import pytest
import trio

from trillama.base.errors import BadRequest, ModelLoadError
from trillama.engine.fake import FakeBackend, FakeVocabulary
from trillama.engine.threads import StackPool
from trillama.runners.vocabularies import MAX_TEXT, Vocabularies


class Shelf:
    """Vocabularies on a fake backend, with its counts."""

    def __init__(self, kept: int = 2) -> None:
        self.backend = FakeBackend()
        self.threads = StackPool("test", 1)
        self.vocabularies = Vocabularies(self.backend, self.threads, kept)

    @property
    def open(self) -> int:
        return self.backend.open_models

    async def use(self, path: str) -> list[int]:
        async with self.vocabularies.borrow(path) as found:
            return (await found.tokenize("ab")).tolist()

    def close(self) -> None:
        self.threads.close()
        self.vocabularies.close()


async def test_a_vocabulary_is_read_once_and_without_weights() -> None:
    """Many who ask at once share one load, of the vocabulary alone."""
    shelf = Shelf()
    loads: list[bool] = []
    shelf.backend.hooks.on_load = lambda path, params: loads.append(params.vocab_only)
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(shelf.use, "/m")

    assert loads == [True]
    assert await shelf.use("/m") == [97, 98]
    shelf.close()
    assert not shelf.open


async def test_only_the_ones_used_last_are_kept() -> None:
    """A third one costs the place of the one that was used longest ago."""
    shelf = Shelf(kept=2)
    for path in ("/a", "/b", "/a", "/c", "/a"):
        await shelf.use(path)

    assert shelf.open == 2
    assert len(shelf.backend.models) == 3
    shelf.close()


async def test_one_in_use_is_not_freed() -> None:
    """What somebody holds stays, however many others come."""
    shelf = Shelf(kept=1)
    async with shelf.vocabularies.borrow("/held") as held:
        for path in ("/a", "/b", "/c"):
            await shelf.use(path)
        assert (await held.tokenize("x")).tolist() == [120]
        assert shelf.open == 2
    shelf.close()


async def test_an_abandoned_text_keeps_its_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a hang-up in the middle of a text nothing is freed under the thread that reads it."""
    shelf = Shelf(kept=1)
    go, began = threading.Event(), threading.Event()

    def slow(self: FakeVocabulary, text: str, **_: bool) -> list[int]:
        began.set()
        go.wait(10)
        return []

    monkeypatch.setattr(FakeVocabulary, "tokenize", slow)
    with trio.move_on_after(0.05):
        async with shelf.vocabularies.borrow("/left") as found:
            await found.tokenize("x")
    assert began.is_set()
    async with shelf.vocabularies.borrow("/other"):
        assert not shelf.backend.models[0].closed
    go.set()
    shelf.close()


async def test_errors_are_those_of_the_request() -> None:
    """A file that cannot be read, or a text too long to be looked at, fails that request alone."""
    shelf = Shelf()

    def refuse(path: str, params: object) -> None:
        raise ModelLoadError("damaged")

    shelf.backend.hooks.on_load = refuse
    with pytest.raises(ModelLoadError, match="damaged"):
        await shelf.use("/m")
    shelf.backend.hooks.on_load = None
    with pytest.raises(BadRequest, match="characters"):
        async with shelf.vocabularies.borrow("/m") as found:
            await found.tokenize("x" * (MAX_TEXT + 1))
    assert await shelf.use("/m") == [97, 98]
    shelf.close()
