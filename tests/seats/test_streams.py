"""Streams hold what the book says, whoever copies, continues, moves or leaves."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trillama.engine.base import ContextParams, DecodeStatus
from trillama.engine.fake import FakeContext, open_fake_context
from trillama.engine.operations import Copy, Operation, carry_out
from trillama.engine.prefix_tree import Tokens
from trillama.engine.saved_states import SavedStates
from trillama.kv import Place
from trillama.seats.streams import WIDEST_GAP, StreamBook

ROOM = 512


def run(seed: int, count: int) -> Tokens:
    return np.random.default_rng(seed).integers(0, 250, count).astype(np.int32)


class House:
    """A book with a context that is kept in step with it."""

    def __init__(self, streams: int = 4, *, reuse: bool = True) -> None:
        params = ContextParams(
            cells=ROOM * streams, sequences=streams, outputs=streams, unified=False
        )
        self.context: FakeContext = open_fake_context(params=params)
        self.states = SavedStates(1 << 20, whole=False)
        self.book = StreamBook(ROOM, streams, reuse=reuse, states=self.states)

    def carry_out(self, operations: list[Operation]) -> None:
        carry_out(operations, self.context, self.states)

    def admit(self, text: Tokens, key: str = "") -> tuple[Place, int]:
        grant = self.book.admit(key, text)
        assert grant is not None
        self.carry_out(grant.operations)
        return grant.sequence, grant.cached

    def compute(self, place: Place, text: Tokens) -> None:
        batch = self.context.new_batch()
        batch.add_run(place.id, place.length, text[place.length :])
        assert self.context.decode(batch) is DecodeStatus.OK
        self.book.grow(place, len(text) - place.length)
        self.book.register(place, text)

    def begin(self, text: Tokens, key: str = "") -> Place:
        place, _ = self.admit(text, key)
        self.compute(place, text)
        return place

    def leave(self, place: Place, text: Tokens) -> None:
        self.carry_out(self.book.release(place, text))

    def finish(self, text: Tokens, key: str = "") -> None:
        self.leave(self.begin(text, key), text)

    def held(self) -> list[list[int]]:
        return [self.context.tokens_of(at) for at in range(self.context.limits.sequences)]


def test_a_prefix_is_copied_from_a_running_job() -> None:
    """Another job gets the common beginning as its own; the first goes on undisturbed."""
    house, stem = House(), run(0, 100)
    first = house.begin(np.append(stem, run(1, 20)))
    text = np.append(stem, run(2, 30))
    second, cached = house.admit(text)
    assert cached == 100
    house.compute(second, text)
    assert house.held()[first.id] == [*stem, *run(1, 20)]
    assert house.held()[second.id] == text.tolist()


def test_a_conversation_goes_on_in_its_own_cells() -> None:
    """The next turn continues the finished stream, without a copy."""
    house, text = House(), run(0, 80)
    house.finish(text)
    copies = house.context.counters.copies
    place, cached = house.admit(np.append(text, run(1, 20)))
    assert cached == 80
    assert place.id == 0
    assert house.context.counters.copies == copies


def test_a_branch_leaves_the_other_one_whole() -> None:
    """A finished stream that goes on differently is copied, as long as there is a free one."""
    house, stem = House(), run(0, 100)
    house.finish(np.append(stem, run(1, 100)))
    _, cached = house.admit(np.append(stem, run(2, 10)))
    assert cached == 100
    assert house.book.match("", np.append(stem, run(1, 110))) == 200


def test_jobs_live_next_to_each_other() -> None:
    """Who continues a stream stays in it, or takes it along to where the others are."""
    house = House(6)
    texts = [run(n, 60) for n in range(5)]
    places = [house.begin(text) for text in texts]
    for place, text in zip(places, texts, strict=True):
        house.leave(place, text)
    fourth, cached = house.admit(np.append(texts[4], run(9, 5)))
    assert (fourth.id, cached, house.context.counters.copies) == (4, 60, 0)
    second, cached = house.admit(np.append(texts[2], run(9, 5)))
    assert (second.id, cached, house.context.counters.copies) == (5, 60, 1)
    assert house.held()[4] == texts[4].tolist()
    assert house.held()[5] == texts[2].tolist()


def test_a_crowd_after_a_crowd_copies_nothing() -> None:
    """It goes where nothing is; what the first one left stays, and is where it was."""
    house = House(8)
    texts = [run(n, 60) for n in range(4)]
    for place, text in [(house.begin(text), text) for text in texts]:
        house.leave(place, text)
    assert [house.begin(run(10 + n, 60)).id for n in range(4)] == [4, 5, 6, 7]
    assert house.context.counters.copies == 0
    assert house.held()[:4] == [text.tolist() for text in texts]


@pytest.mark.parametrize(("length", "copies"), [(30, 0), (100, 1)])
def test_only_what_is_likely_to_save_more_is_copied_out_of_the_way(
    length: int, copies: int
) -> None:
    """The way to the others is short for a newcomer, whatever was there."""
    house, text = House(4), run(1, length)
    house.begin(run(0, 60))
    house.finish(text)
    assert house.begin(run(2, 60)).id == 1
    assert house.context.counters.copies == copies
    assert house.held()[3] == (text.tolist() if copies else [])


def test_the_stream_left_longest_ago_is_given_up() -> None:
    """When every stream is taken the least recent one goes."""
    house = House(3)
    texts = [run(n, 60) for n in range(3)]
    for text in texts:
        house.finish(text)
    house.begin(run(7, 60))
    known = [house.book.match("", np.append(text, 1)) for text in texts]
    assert known == [0, 60, 60]
    assert house.book.statistics().evictions == 1


def test_the_only_stream_is_cut_back_where_nothing_else_is_free() -> None:
    """Even then the common beginning is not computed again."""
    house, stem = House(1), run(0, 100)
    house.finish(np.append(stem, run(1, 50)))
    place, cached = house.admit(np.append(stem, run(2, 50)))
    assert (place.id, cached) == (0, 100)
    assert house.held()[0] == stem.tolist()


def test_no_stream_for_a_job_more_than_there_are() -> None:
    """It has to wait."""
    house = House(2)
    for n in range(2):
        house.begin(run(n, 30))
    assert house.book.admit("", run(5, 30)) is None


def test_keys_keep_apart() -> None:
    """Nothing is taken over from another key's stream."""
    house, text = House(), run(0, 60)
    house.finish(text, "a")
    assert house.book.match("b", np.append(text, 1)) == 0
    assert house.book.match("a", np.append(text, 1)) == 60


def test_without_reuse_nothing_is_kept() -> None:
    """A finished stream is empty at once."""
    house, text = House(reuse=False), run(0, 60)
    house.finish(text)
    assert house.book.used == house.context.cells_used == 0


def test_streams_that_say_the_same_are_kept_once() -> None:
    """A finished stream that another one begins with helps nobody."""
    house, text = House(), run(0, 60)
    long = house.begin(np.append(text, run(1, 60)))
    house.finish(text)
    assert house.book.statistics().holders == 0
    house.leave(long, np.append(text, run(1, 60)))
    assert house.book.statistics().holders == 1


def test_gaps_are_bridged() -> None:
    """Ids between those of a step get a row at their next position, unless it would be dear."""
    house = House(5)
    texts = [run(n, 40 + n) for n in range(5)]
    places = [house.begin(text) for text in texts]
    house.leave(places[1], texts[1])
    house.leave(places[2], run(9, 0))
    assert house.book.fillers([places[0], places[3]]) == [(1, 41), (2, 0)]
    assert house.book.fillers([places[3], places[4]]) == []


def test_wide_gaps_and_long_streams_are_no_bridge() -> None:
    """There another execution of the graph is the cheaper one."""
    house = House(WIDEST_GAP + 3)
    places = [house.begin(run(n, 40)) for n in range(WIDEST_GAP + 3)]
    assert house.book.fillers([places[0], places[-1]]) == []
    house.compute(places[1], np.append(run(1, 40), run(50, 100)))
    assert house.book.fillers([places[0], places[2]]) == []


def test_a_longer_stream_between_is_a_bridge_where_rows_can_pay_for_it() -> None:
    """Every row of the step sees as many positions as the longest of them has."""
    house = House(4)
    places = [house.begin(run(n, 40)) for n in range(3)]
    house.compute(places[1], np.append(run(1, 40), run(50, 100)))
    ends = [places[0], places[2]]
    assert house.book.fillers(ends, worth=2 * 100 - 1) == []
    assert house.book.fillers(ends, worth=2 * 100) == [(1, 140)]


def test_a_finished_stream_between_makes_room_for_a_newcomer() -> None:
    """Nobody would need it; outside it would be in nobody's way, inside each step pays for it."""
    house = House(6)
    places = [house.begin(run(n, 40)) for n in range(4)]
    house.leave(places[1], run(1, 40))
    assert house.begin(run(7, 40)).id == 1
    assert house.book.fillers([places[0], places[2]]) == [(1, 40)]


def test_what_the_only_stream_loses_is_saved() -> None:
    """Conversations with one beginning take turns in it, and none is computed twice."""
    house, stem = House(1), run(0, 100)
    texts = [np.concatenate([stem, run(n, 300)]) for n in (1, 2)]
    for text in texts:
        house.finish(text)
    for n, text in enumerate(texts):
        longer = np.append(text, run(10 + n, 5))
        place, cached = house.admit(longer)
        assert cached == 400
        house.compute(place, longer)
        house.leave(place, longer)
    assert house.book.statistics().evictions == 3
    assert house.context.counters.incoherent == 0


class Machine(House):
    """Random jobs on a small book, each checked against its text after every move."""

    def __init__(self, seed: int) -> None:
        super().__init__(4)
        self.random = random.Random(seed)
        self.stems = [run(seed % 1000 + n, length) for n, length in enumerate((60, 330, 350))]
        self.live: dict[int, Place] = {}
        self.texts: dict[int, Tokens] = {}
        self.names = iter(range(10_000))

    def come(self) -> None:
        stem = self.random.choice(self.stems)
        stem = stem[: self.random.choice((self.random.randrange(10, 60), len(stem)))]
        text = np.append(stem, run(self.random.randrange(100), self.random.randrange(1, 20)))
        grant = self.book.admit("", text)
        if grant is None:
            assert len(self.live) == 4
            return
        self.carry_out(grant.operations)
        name = next(self.names)
        self.live[name], self.texts[name] = grant.sequence, text

    def go_on(self) -> None:
        name = self.random.choice(list(self.live))
        place = self.live[name]
        if place.length == len(self.texts[name]):
            self.texts[name] = np.append(self.texts[name], run(self.random.randrange(50), 3))
        self.compute(place, self.texts[name])

    def shift(self) -> None:
        name = self.random.choice(list(self.live))
        place, keep = self.live[name], self.random.randrange(4, 30)
        discard = (place.length - keep) // 2
        if discard > 0:
            operations = self.book.shift(place, keep, discard)
            assert operations is not None
            self.carry_out(operations)
            self.texts[name] = np.delete(self.texts[name], slice(keep, keep + discard))

    def go(self) -> None:
        name = self.random.choice(list(self.live))
        self.leave(self.live.pop(name), self.texts.pop(name))

    def verify(self) -> None:
        self.book.check()
        self.states.check()
        assert self.context.cells_used == self.book.used
        for name, place in self.live.items():
            expected = self.texts[name][: place.length].tolist()
            assert self.context.tokens_of(place.id) == expected


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_book_and_the_streams_always_agree(seed: int) -> None:
    """Whatever happens, every job sees exactly its tokens, and nothing is left behind."""
    machine = Machine(seed)
    for _ in range(80):
        moves = [machine.come]
        if machine.live:
            moves += [machine.go_on] * 3 + [machine.go, machine.shift]
        machine.random.choice(moves)()
        machine.verify()
    while machine.live:
        machine.go()
        machine.verify()
    machine.carry_out(machine.book.drop_holders())
    assert machine.book.used == machine.context.cells_used == 0


@pytest.mark.parametrize(("cells", "shared"), [(512, 16), (16_384, 64)])
def test_short_beginnings_are_not_worth_a_copy(cells: int, shared: int) -> None:
    """A copy moves a whole stream: the larger it is, the more it has to save."""
    for length, expected in ((shared - 1, 0), (shared, shared)):
        book, text = StreamBook(cells, 3), run(0, length)
        grant = book.admit("", text)
        assert grant is not None
        book.grow(grant.sequence, length)
        book.register(grant.sequence, text)
        assert book.match("", np.append(text, run(1, 5))) == expected
        again = book.admit("", np.append(text, run(1, 5)))
        assert again is not None
        assert any(isinstance(op, Copy) for op in again.operations) == bool(expected)
