"""Packs side by side: when, with whose rows, and what is left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import numpy as np
import pytest

from trillama.base.errors import EngineError, ModelLoadError
from trillama.engine.embedding import EmbeddingParams, Pooling
from trillama.engine.fake_embedding import FakeEmbeddings, fake_row
from trillama.runners.lanes import PATIENCE, Lanes

POISON = 255
Pack = Sequence[np.ndarray]


class Engine:
    """Opens contexts and keeps them.

    Attributes:
        seconds: what a call of one thread takes, by the clock of the lanes.
        meet: calls wait here for each other, if set.
        most: contexts that there is memory for.
    """

    def __init__(self, threads: int, seconds: float = PATIENCE / 10) -> None:
        self.contexts: list[FakeEmbeddings] = []
        self.seconds = seconds
        self.meet: threading.Barrier | None = None
        self.most = 100
        self._now = count()
        params = EmbeddingParams(batch=64, sequences=16, longest=256, threads=threads)
        self.lanes = Lanes(self._open, params, self._clock)

    def _open(self, params: EmbeddingParams) -> FakeEmbeddings:
        if len(self.contexts) == self.most:
            raise ModelLoadError("no memory")
        context = FakeEmbeddings(Pooling.MEAN, params, self._embed)
        self.contexts.append(context)
        return context

    def _clock(self) -> float:
        return next(self._now) * self.seconds

    def _embed(self, inputs: Pack) -> None:
        if any(POISON in tokens for tokens in inputs):
            raise EngineError("cannot compute this")
        if self.meet:
            self.meet.wait(20)

    @property
    def calls(self) -> list[int]:
        """Calls of each context; the one with all threads comes first."""
        return [context.counters.calls for context in self.contexts]


@pytest.fixture
def open_engine() -> Iterator[Callable[..., Engine]]:
    """Makes engines, and closes them after the test."""
    made: list[Engine] = []

    def make(threads: int, seconds: float = PATIENCE / 10) -> Engine:
        made.append(Engine(threads, seconds))
        return made[-1]

    yield make
    for engine in made:
        engine.lanes.close()


def pack(number: int, inputs: int = 8, length: int = 8) -> list[np.ndarray]:
    return [np.full(length, 100 * number + at, np.int32) % POISON for at in range(inputs)]


def helpers() -> int:
    return sum(thread.name.startswith("embedding") for thread in threading.enumerate())


def same(rows: object, wanted: Pack) -> bool:
    assert isinstance(rows, np.ndarray)
    return np.array_equal(rows, np.stack([fake_row(tokens) for tokens in wanted]))


def test_packs_are_computed_at_once_by_a_thread_each(open_engine: Callable[..., Engine]) -> None:
    """Once a pack was seen to be quick, as many as there are threads are asked for."""
    engine = open_engine(threads=3)
    assert engine.lanes.wanted == 1
    (first,) = engine.lanes.compute([pack(0)])
    assert engine.lanes.wanted == 3

    engine.meet = threading.Barrier(3)  # breaks unless three calls are under way
    packs = [pack(number) for number in range(1, 4)]
    found = engine.lanes.compute(packs)

    assert same(first, pack(0))
    assert all(map(same, found, packs))
    assert engine.calls == [1, 1, 1, 1]


def test_packs_that_take_long_go_one_after_the_other(open_engine: Callable[..., Engine]) -> None:
    """A newcomer would wait for the slow packs of all threads."""
    engine = open_engine(threads=2, seconds=PATIENCE)
    for number in range(3):
        assert same(engine.lanes.compute([pack(number)])[0], pack(number))
        assert engine.lanes.wanted == 1


def test_lanes_that_become_slow_are_left(open_engine: Callable[..., Engine]) -> None:
    """What a pack takes is looked at again in every call."""
    engine = open_engine(threads=2)
    engine.lanes.compute([pack(0)])
    engine.seconds = 2 * PATIENCE
    engine.lanes.compute([pack(1), pack(2)])
    assert engine.calls == [1, 1, 1]
    assert engine.lanes.wanted == 1


def test_a_pack_with_few_tokens_says_nothing_about_full_ones(
    open_engine: Callable[..., Engine],
) -> None:
    """Two short inputs are quick anywhere."""
    engine = open_engine(threads=2, seconds=PATIENCE / 100)
    engine.lanes.compute([pack(0, inputs=2)])
    assert engine.lanes.wanted == 1


@pytest.mark.parametrize(
    ("packs", "calls"),
    [
        ([pack(1), pack(2)], [3]),  # two of four threads: all four do more
        ([pack(1), pack(2), pack(3)], [1, 1, 1, 1]),
        ([pack(1), pack(2), pack(3, inputs=1, length=200)], [4]),  # no lane is so long
    ],
)
def test_lanes_are_for_many_packs_of_short_texts(
    open_engine: Callable[..., Engine], packs: list[Pack], calls: list[int]
) -> None:
    """Else all threads compute one pack after the other."""
    engine = open_engine(threads=4)
    engine.lanes.compute([pack(0)])
    found = engine.lanes.compute(packs)
    assert all(map(same, found, packs))
    assert engine.calls == calls


def test_trouble_stays_with_its_pack(open_engine: Callable[..., Engine]) -> None:
    """The other lanes have their rows."""
    engine = open_engine(threads=2)
    engine.lanes.compute([pack(0)])
    bad, good = engine.lanes.compute([[np.array([POISON], np.int32)], pack(1)])
    assert isinstance(bad, EngineError)
    assert same(good, pack(1))


def test_without_memory_for_lanes_there_are_none(open_engine: Callable[..., Engine]) -> None:
    """The context that is there computes all, and lanes are not tried in the next call."""
    engine = open_engine(threads=2)
    engine.lanes.compute([pack(0)])
    engine.most = 2
    packs = [pack(1), pack(2)]
    assert all(map(same, engine.lanes.compute(packs), packs))
    assert engine.calls == [3, 0]
    assert engine.lanes.wanted == 1


def test_nothing_is_left(open_engine: Callable[..., Engine]) -> None:
    """Contexts are freed and threads gone; closing again does nothing."""
    engine = open_engine(threads=2)
    engine.lanes.compute([pack(0)])
    engine.lanes.compute([pack(1), pack(2)])
    assert helpers() == 1
    engine.lanes.close()
    engine.lanes.close()
    assert helpers() == 0
    assert [context.closed for context in engine.contexts] == [True] * 3
