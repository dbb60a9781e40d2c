"""Fixtures of the registry's tests: a store, a rogue registry, a world without packets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support.pulling import Bench
from tests.support.rogue import Rogue, World


@pytest.fixture
def rogue() -> Rogue:
    """A registry, which listens nowhere yet."""
    return Rogue()


@pytest.fixture
def world(nursery: trio.Nursery, rogue: Rogue) -> World:
    """A network with the rogue registry at ``registry.test``."""
    world = World(nursery)
    world.add("registry.test", rogue)
    return world


@pytest.fixture
async def bench(
    tmp_path: Path, world: World, nursery: trio.Nursery
) -> AsyncIterator[Callable[..., Any]]:
    """Builds what pulls from that network into a store: ``await bench(**settings)``."""

    async def build(**settings: Any) -> Bench:
        one = Bench(tmp_path / "models", world, settings)
        await nursery.start(one.transfers.run)
        return one

    yield build
    nursery.cancel_scope.cancel()


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """A clock that jumps when nobody has anything to do; so work is done on the spot, not on
    threads that the clock does not see."""

    async def at_once(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    return trio.testing.MockClock(autojump_threshold=0)
