"""Inputs packed into calls: fair between requests, full, whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trillama.engine.packing import Packer


def inputs(*lengths: int) -> list[np.ndarray]:
    return [np.full(length, length, np.int32) for length in lengths]


def places(packer: Packer) -> list[tuple[str, int]]:
    return [(part.request, part.index) for part in packer.take()]


def test_requests_take_turns() -> None:
    """A request of one is in the next call, however many inputs came before it."""
    packer = Packer(100, 4)
    packer.add("many", inputs(*[1] * 50))
    packer.add("one", inputs(1))

    assert places(packer) == [("many", 0), ("one", 0), ("many", 1), ("many", 2)]
    assert packer.waiting == 47


def test_a_call_is_filled_up_to_its_tokens() -> None:
    """The budget is kept; an input beyond it goes alone."""
    packer = Packer(10, 8)
    packer.add("a", inputs(4, 6, 1, 99, 2))

    assert [len(packer.take()) for _ in range(4)] == [2, 1, 1, 1]
    assert not packer.has_work


def test_what_is_dropped_is_gone() -> None:
    """A request that left costs nothing more; an unknown one is no trouble."""
    packer = Packer(10, 1)
    packer.add("a", inputs(1, 1))
    packer.add("b", inputs(1))
    packer.take()
    packer.drop("a")
    packer.drop("never")

    assert places(packer) == [("b", 0)]
    assert packer.take() == []


@given(st.lists(st.lists(st.integers(1, 30), max_size=12), max_size=6), st.integers(1, 40))
def test_everything_comes_once_and_in_order(requests: list[list[int]], batch: int) -> None:
    """Whatever the lengths: each input once, each request in its order, no call too large."""
    packer = Packer(batch, 5)
    for number, lengths in enumerate(requests):
        packer.add(str(number), inputs(*lengths))
    seen: list[tuple[str, int]] = []
    while packer.has_work:
        parts = packer.take()
        assert 0 < len(parts) <= 5
        assert len(parts) == 1 or sum(len(part.tokens) for part in parts) <= batch
        seen += [(part.request, part.index) for part in parts]

    for number, lengths in enumerate(requests):
        mine = [index for request, index in seen if request == str(number)]
        assert mine == list(range(len(lengths)))
