"""A moment's wait for those who come back together."""

from __future__ import annotations

from trillama.engine.gang import (
    MEMORY_NS,
    PATIENCE_NS,
    SLOW_PATIENCE_NS,
    TOKEN_NS,
    TOKEN_SHARE,
    Gang,
)

MS = 1_000_000


def after(count: int, at: int = 1000 * MS) -> Gang:
    """A gang of which ``count`` left together."""
    gang = Gang()
    for _ in range(count):
        gang.left(at)
    return gang


def test_the_first_of_many_is_held_until_the_others_came() -> None:
    """Whoever left together begins together, but nobody waits longer than the patience."""
    gang, now = after(8), 1005 * MS
    gang.came(now, 1, 10)
    assert gang.linger(now, 1) == PATIENCE_NS
    assert gang.linger(now + 10 * MS, 7) == PATIENCE_NS - 10 * MS
    assert gang.linger(now + 10 * MS, 8) == 0
    assert gang.linger(now + PATIENCE_NS, 3) == 0


def test_a_lone_client_is_never_held() -> None:
    """One left, one came: it begins at once."""
    gang = after(1)
    gang.came(1001 * MS, 1, 10)
    assert gang.linger(1001 * MS, 1) == 0


def test_a_lone_client_in_a_hurry_is_never_held() -> None:
    """Its own answers, one after the other within a moment, make no gang of one."""
    gang = Gang()
    for turn in range(5):
        now = turn * 20 * MS
        gang.came(now, 1, 10)
        assert gang.linger(now, 1) == 0
        gang.left(now + 5 * MS)


def test_those_who_left_long_ago_are_not_expected() -> None:
    """A quiet while later a request is a new one."""
    gang, now = after(8), 1000 * MS + MEMORY_NS + 1
    gang.came(now, 1, 10)
    assert gang.linger(now, 1) == 0


def test_leaving_one_after_the_other_makes_no_gang() -> None:
    """Only answers that ended together count together."""
    gang = Gang()
    for second in range(5):
        gang.left(second * 1000 * MS)
    gang.came(4001 * MS, 1, 10)
    assert gang.linger(4001 * MS, 1) == 0


def test_an_engine_that_has_just_started_waits_for_nobody() -> None:
    """Nobody has left yet."""
    gang = Gang()
    gang.came(5 * MS, 1, 10)
    assert gang.linger(5 * MS, 1) == 0


def test_those_whose_prompts_are_nearly_ready_are_waited_for() -> None:
    """As long as the prompts that are there are worth, and no longer than until all are there."""
    gang, now = Gang(), 1000 * MS
    gang.came(now, 1, 100)
    assert gang.linger(now, 1, coming=7) == 100 * TOKEN_NS
    assert gang.linger(now, 1, coming=0) == 0, "nobody else is in sight"
    assert gang.linger(now, 1, coming=7, token_ns=8e5) == 100 * 8e5 / TOKEN_SHARE, "a slow machine"
    assert gang.linger(now, 1, coming=7, token_ns=1e9) == SLOW_PATIENCE_NS, "however slow"
    gang.came(now + MS, 2, 60)
    assert gang.linger(now + MS, 2, coming=6) == 160 * TOKEN_NS - MS
    assert gang.linger(now + 160 * TOKEN_NS, 2, coming=6) == 0
    gang.came(now + 2 * MS, 3, 100_000)
    assert gang.linger(now + 2 * MS, 3, coming=5) == PATIENCE_NS - 2 * MS


def test_what_is_worth_waiting_is_counted_anew_for_each_crowd() -> None:
    """A long prompt of a minute ago makes nobody wait."""
    gang = Gang()
    gang.came(0, 1, 100_000)
    gang.came(1000 * MS, 1, 20)
    assert gang.linger(1000 * MS, 1, coming=1) == 20 * TOKEN_NS
