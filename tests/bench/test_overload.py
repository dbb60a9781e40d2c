"""What an overload is judged by."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.overload import KEYS, jain, judge, owners
from bench.stats import Reply


def test_jain_is_one_for_equals_and_a_share_for_one_who_has_all() -> None:
    """As its definition says."""
    assert jain([5, 5, 5, 5]) == 1
    assert jain([1, 0, 0, 0]) == 0.25


def test_every_client_has_a_key() -> None:
    """In the proportions of KEYS."""
    assert Counter(owners(200)) == dict(enumerate(200 * part // sum(KEYS) for part in KEYS))
    assert len(owners(37)) == 37


def reply(sent: float, first: float, texts: int) -> Reply:
    return Reply(sent, [first + at for at in range(texts)], first + texts, output_tokens=texts)


def test_a_key_that_gets_less_makes_it_unfair() -> None:
    """Texts count while everybody wants more; a request that failed is no result at all."""
    equal = {key: [reply(0, 1, 10), reply(11, 12, 10)] for key in range(4)}
    assert judge(equal, pool=2).jain == 1
    starved = equal | {3: [reply(0, 9, 10), reply(19, 20, 10)]}
    crowd = judge(starved, pool=2)
    assert crowd.jain < 0.9
    assert crowd.rate == pytest.approx(80 / 30)
    equal[0][0].error = "503"
    with pytest.raises(RuntimeError, match="503"):
        judge(equal, pool=2)
