"""The book of the KV pool, alone and beside a modelled cache that carries its operations out."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trillama.engine.base import ContextParams, DecodeStatus
from trillama.engine.fake import FakeContext, open_fake_context
from trillama.engine.operations import Copy, Remove, Shift, carry_out
from trillama.kv import MIN_REUSE, KVPool, Sequence

Tokens = npt.NDArray[np.int32]


def tokens(*values: int) -> Tokens:
    return np.array(values, np.int32)


def run(start: int, count: int) -> Tokens:
    return np.arange(start, start + count, dtype=np.int32) % 250


def admit(pool: KVPool, prompt: Tokens, key: str = "") -> Sequence:
    grant = pool.admit(key, prompt)
    assert grant is not None
    return grant.sequence


def compute(pool: KVPool, sequence: Sequence, text: Tokens) -> None:
    """Pretend the engine computed everything up to the end of ``text``."""
    pool.grow(sequence, len(text) - sequence.length)
    pool.register(sequence, text)


def test_a_fresh_pool_gives_a_sequence_and_computes_everything() -> None:
    """Nothing is cached at first, and an admission alone takes no cells."""
    pool = KVPool(100, 4)
    grant = pool.admit("", run(0, 30))
    assert grant is not None
    assert (grant.cached, grant.operations, pool.used) == (0, [], 0)
    pool.check()


def test_a_live_prefix_is_shared_without_cells() -> None:
    """A second prompt with the same beginning copies from the running one."""
    pool = KVPool(100, 4)
    first = admit(pool, run(0, 30))
    compute(pool, first, run(0, 30))
    other = np.concatenate((run(0, 20), run(100, 10)))
    grant = pool.admit("", other)
    assert grant is not None
    assert grant.cached == 20
    assert grant.operations == [Copy(first.id, grant.sequence.id, 0, 20)]
    compute(pool, grant.sequence, other)
    assert pool.used == 40
    pool.check()


def test_the_last_prompt_token_is_never_taken_from_the_cache() -> None:
    """Its logits are needed, so an identical prompt still computes one token."""
    pool = KVPool(100, 4)
    compute(pool, admit(pool, run(0, 30)), run(0, 30))
    assert pool.match("", run(0, 30)) == 29


def test_short_common_prefixes_are_not_worth_a_copy() -> None:
    """Below MIN_REUSE tokens nothing is shared."""
    pool = KVPool(100, 4)
    compute(pool, admit(pool, run(0, 30)), run(0, 30))
    prompt = np.concatenate((run(0, MIN_REUSE - 1), run(200, 9)))
    assert pool.match("", prompt) == 0


def test_a_finished_sequence_is_continued_in_place() -> None:
    """The next turn of a chat takes the holder's id over: no copy, no cells."""
    pool = KVPool(100, 4)
    first = admit(pool, run(0, 30))
    compute(pool, first, run(0, 30))
    assert pool.release(first, run(0, 30)) == []
    grant = pool.admit("", run(0, 40))
    assert grant is not None
    assert (grant.sequence.id, grant.cached, grant.operations) == (first.id, 30, [])
    pool.check()


def test_keys_do_not_share() -> None:
    """What was computed under one key is invisible under another."""
    pool = KVPool(100, 4)
    compute(pool, admit(pool, run(0, 30), "a"), run(0, 30))
    assert pool.match("b", run(0, 30)) == 0


def test_without_reuse_nothing_stays() -> None:
    """With the cache off a released sequence gives back every cell and its id."""
    pool = KVPool(100, 1, reuse=False)
    first = admit(pool, run(0, 30))
    compute(pool, first, run(0, 30))
    assert pool.release(first, run(0, 30)) == [Remove(first.id)]
    assert pool.used == 0
    assert pool.admit("", run(0, 30)) is not None
    pool.check()


def test_holders_leave_in_order_of_last_use() -> None:
    """Room is made by evicting the holder that was not used for longest."""
    pool = KVPool(100, 4)
    ids = []
    for start in (0, 50, 100):
        sequence = admit(pool, run(start, 30))
        compute(pool, sequence, run(start, 30))
        pool.release(sequence, run(start, 30))
        ids.append(sequence.id)
    pool.admit("", np.concatenate((run(0, 20), run(200, 5))))
    assert pool.make_room(pool.free + 1) == [Remove(ids[1])]
    pool.check()


def test_a_prompt_that_cannot_fit_is_not_admitted() -> None:
    """Live cells are never evicted for a newcomer."""
    pool = KVPool(64, 4)
    first = admit(pool, run(0, 40))
    compute(pool, first, run(0, 40))
    assert pool.admit("", run(100, 30)) is None
    pool.release(first, run(0, 40))
    assert pool.admit("", run(100, 30)) is not None
    pool.check()


def test_when_ids_run_out_the_last_holder_is_cut_back() -> None:
    """A pool whose only id is a matching holder continues it from the match."""
    pool = KVPool(100, 1)
    first = admit(pool, run(0, 40))
    compute(pool, first, run(0, 40))
    pool.release(first, run(0, 40))
    grant = pool.admit("", np.concatenate((run(0, 20), run(200, 5))))
    assert grant is not None
    assert grant.operations == [Remove(first.id, 20)]
    assert pool.used == 20
    pool.check()


def test_equal_text_computed_twice_is_kept_once() -> None:
    """Two sequences that wrote the same tokens end up sharing one run of cells."""
    pool = KVPool(200, 4)
    a, b = admit(pool, run(0, 30)), admit(pool, run(0, 30))
    compute(pool, a, run(0, 30))
    pool.grow(b, 30)
    operations = pool.register(b, run(0, 30))
    assert operations == [Remove(b.id, 0, 30), Copy(a.id, b.id, 0, 30)]
    assert pool.used == 30
    pool.release(a, run(0, 30))
    pool.release(b, run(0, 30))
    assert pool.statistics().holders == 1
    pool.check()


def test_a_shift_refuses_to_move_shared_cells() -> None:
    """Positions another sequence sees must not move under it."""
    pool = KVPool(200, 4)
    a = admit(pool, run(0, 40))
    compute(pool, a, run(0, 40))
    b = admit(pool, np.concatenate((run(0, 30), run(200, 5))))
    assert pool.shift(a, 4, 10) is None
    pool.release(b, run(0, 30))
    assert pool.shift(a, 4, 10) == [Remove(a.id, 4, 14), Shift(a.id, 14, 40, -10)]
    assert (a.length, pool.used) == (30, 30)
    pool.check()


def test_shifted_text_is_not_cached() -> None:
    """Only the part in front of the shift can serve another prompt."""
    pool = KVPool(200, 4)
    a = admit(pool, run(0, 40))
    compute(pool, a, run(0, 40))
    pool.shift(a, 20, 10)
    pool.release(a, np.delete(run(0, 40), slice(20, 30)))
    assert pool.used == 20
    assert pool.match("", run(0, 40)) == 20
    pool.check()


class Machine:
    """A pool and a modelled cache driven by the same random life."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.context: FakeContext = open_fake_context(params=ContextParams(cells=256, sequences=6))
        self.pool = KVPool(256, 6)
        self.texts: dict[int, Tokens] = {}
        self.live: list[Sequence] = []
        self.stems = [run(self.random.randrange(200), 60) for _ in range(3)]

    def prompt(self) -> Tokens:
        stem = self.random.choice(self.stems)[: self.random.randrange(10, 60)]
        tail = [self.random.randrange(250) for _ in range(self.random.randrange(1, 12))]
        return np.concatenate((stem, tokens(*tail)))

    def admit(self) -> None:
        prompt = self.prompt()
        promised = sum(len(self.texts[s.id]) - s.length for s in self.live)
        if grant := self.pool.admit("", prompt, promised):
            carry_out(grant.operations, self.context)
            self.texts[grant.sequence.id] = prompt
            self.live.append(grant.sequence)

    def decode(self) -> None:
        sequence = self.random.choice(self.live)
        text = self.texts[sequence.id]
        if sequence.length == len(text):
            text = self.texts[sequence.id] = np.append(text, tokens(self.random.randrange(250)))
        count = min(len(text) - sequence.length, self.random.randrange(1, 30))
        carry_out(self.pool.make_room(count), self.context)
        if self.pool.free < count:
            self.release()
            return
        batch = self.context.new_batch()
        batch.add_run(sequence.id, sequence.length, text[sequence.length :][:count])
        assert self.context.decode(batch) is DecodeStatus.OK
        self.pool.grow(sequence, count)
        if self.random.random() < 0.7:
            carry_out(self.pool.register(sequence, text), self.context)

    def shift(self) -> None:
        sequence = self.random.choice(self.live)
        keep = self.random.randrange(4, 30)
        discard = (sequence.length - keep) // 2
        if discard > 0 and (operations := self.pool.shift(sequence, keep, discard)):
            carry_out(operations, self.context)
            text = self.texts[sequence.id]
            self.texts[sequence.id] = np.delete(text, slice(keep, keep + discard))

    def release(self) -> None:
        sequence = self.live.pop(self.random.randrange(len(self.live)))
        carry_out(self.pool.release(sequence, self.texts[sequence.id]), self.context)

    def step(self) -> None:
        choices = [self.admit]
        if self.live:
            choices += [self.decode] * 4 + [self.release, self.shift]
        if len(self.live) >= 5:
            choices.remove(self.admit)
        self.random.choice(choices)()
        self.verify()

    def verify(self) -> None:
        self.pool.check()
        assert self.context.cells_used == self.pool.used
        for sequence in self.live:
            expected = self.texts[sequence.id][: sequence.length]
            assert self.context.tokens_of(sequence.id) == expected.tolist()


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_book_and_the_cache_always_agree(seed: int) -> None:
    """Whatever happens, every live sequence sees exactly its tokens and no cell is lost."""
    machine = Machine(seed)
    for _ in range(80):
        machine.step()
    while machine.live:
        machine.release()
        machine.verify()
    carry_out(machine.pool.drop_holders(), machine.context)
    assert machine.pool.used == machine.context.cells_used == 0
    machine.pool.check()


@pytest.mark.parametrize("length", [1, 2])
def test_tiny_prompts_are_admitted(length: int) -> None:
    """A prompt of one token has no prefix to share and is no special case."""
    pool = KVPool(16, 2)
    compute(pool, admit(pool, run(0, length)), run(0, length))
    assert pool.used == length
    pool.check()


def finish(pool: KVPool, text: Tokens) -> None:
    """One request from arrival to end."""
    pool.expect("", text)
    sequence = admit(pool, text)
    compute(pool, sequence, text)
    pool.release(sequence, text)


def test_a_useless_cache_shrinks_while_jobs_run() -> None:
    """Cells of sequences nobody continues are given up when they would slow others down."""
    pool = KVPool(20_000, 64)
    chooser = np.random.default_rng(0)
    for _ in range(40):
        finish(pool, chooser.integers(0, 10_000, 300).astype(np.int32))
    runner = admit(pool, run(0, 30))
    assert pool.statistics().idle > 10_000, "nobody is slowed down by it so far"
    assert len(pool.trim()) > 10
    assert pool.statistics().idle == 0
    pool.release(runner, run(0, 0))
    pool.check()


def test_a_useful_cache_stays_while_jobs_run() -> None:
    """Conversations that go on keep their cells beside other work."""
    pool = KVPool(20_000, 64)
    history = run(0, 300)
    for turn in range(1, 12):
        finish(pool, history)
        history = np.concatenate((history, run(turn, 100)))
    idle = pool.statistics().idle
    admit(pool, run(200, 40))
    assert pool.trim() == []
    assert pool.statistics().idle == idle > 1000
