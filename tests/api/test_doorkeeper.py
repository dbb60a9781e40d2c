"""Refusals that cost nothing: by what a name meant a moment ago, and no longer than that."""

from __future__ import annotations

from typing import Any, cast

import pytest
from trio.testing import MockClock

from trillama.api.doorkeeper import MOST, TRUSTED, Doorkeeper
from trillama.base.errors import Busy
from trillama.runner_pool import Runner


class Full:
    """A runner that may let nobody in."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.full = False

    def check_room(self, client: str) -> None:
        self.asked.append(client)
        if self.full:
            raise Busy("full", 3)


def entered(names: tuple[str, ...] = ("m",)) -> tuple[Doorkeeper, Any]:
    """A doorkeeper who has seen somebody enter by each of ``names``; the runner is full by now."""
    keeper, runner = Doorkeeper(), Full()
    for name in names:
        keeper.enter(name, cast("Runner", runner), "first")
    runner.full = True
    return keeper, runner


async def test_a_full_runner_is_known_by_its_name_alone(mock_clock: MockClock) -> None:
    """Whoever names it is refused by its own word; another name has to be looked up."""
    keeper, runner = entered()
    with pytest.raises(Busy) as refusal:
        keeper.check("m", "second")
    assert refusal.value.retry_after == 3
    keeper.check("other", "third")
    assert runner.asked == ["first", "second"]


async def test_a_name_is_not_trusted_for_long(mock_clock: MockClock) -> None:
    """It may mean another model by then; who enters after a look-up renews it, refused or not."""
    keeper, runner = entered()
    mock_clock.jump(TRUSTED / 2)
    with pytest.raises(Busy):
        keeper.enter("m", cast("Runner", runner), "second")
    mock_clock.jump(TRUSTED * 0.9)
    with pytest.raises(Busy):
        keeper.check("m", "third")
    mock_clock.jump(TRUSTED / 2)
    keeper.check("m", "fourth")
    assert runner.asked == ["first", "second", "third"]


async def test_nothing_is_kept_alive(mock_clock: MockClock) -> None:
    """A runner that is gone is forgotten, and names do not pile up."""
    keeper, runner = entered()
    del runner
    keeper.check("m", "second")
    keeper, full = entered(tuple(f"m{number}" for number in range(MOST + 1)))
    keeper.check("m0", "second")
    with pytest.raises(Busy):
        keeper.check(f"m{MOST}", "third")
    assert full.asked[-1] == "third"
