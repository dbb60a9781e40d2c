"""Fixtures of the registry's tests: a store, a rogue registry, a world without packets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

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
