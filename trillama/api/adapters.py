"""Which LoRA adapters a request is computed with, and a runner that has them.

A model brings its own; a request may name those of other installed models instead, each with a
scale. Adapters are checked against the weights before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from ..base.adapters import Adapter, AdapterChoice, Adapters
from ..base.errors import BadField, ModelLoadError, NotFound
from ..models.adapters import AdapterChecks, DoesNotFit
from ..models.installed import InstalledModel
from ..nursery_scheduler import Lease, Scheduler
from ..runner_pool import RunnerSpec


class AdapterBook:
    """Finds adapters by the models that have them.

    Args:
        find: an installed model by its name.
    """

    def __init__(self, find: Callable[[str], Awaitable[InstalledModel]]) -> None:
        self._find = find
        self._checks = AdapterChecks()

    async def chosen(
        self, model: InstalledModel, wanted: tuple[AdapterChoice, ...] | None
    ) -> Adapters:
        """The set that ``model`` is to be used with, checked; the same path counts once.

        Args:
            wanted: None means the model's own.

        Raises:
            NotFound: no model of that name is installed.
            BadField: the model of that name has no adapter, or one that does not fit.
            ModelLoadError: the model's own does not fit.
        """
        scales: dict[str, float] = {}
        if wanted is None:
            scales = {str(path): 1.0 for path in model.adapters}
        for choice in wanted or ():
            for path in await self._paths(choice.name):
                scales[str(path)] = scales.get(str(path), 0.0) + choice.scale
        found = tuple(Adapter(path, scales[path]) for path in sorted(scales) if scales[path])
        if found:
            await self._check(model, found, asked=wanted is not None)
        return found

    def size(self, model: InstalledModel, adapters: Adapters) -> int:
        """Bytes of a set that was chosen for ``model``."""
        assert model.weights is not None, "a set was chosen for it"
        return sum(self._checks.size(Path(one.path), model.weights) for one in adapters)

    async def _paths(self, name: str) -> tuple[Path, ...]:
        try:
            model = await self._find(name)
        except NotFound:
            raise NotFound(f"adapter '{name}' not found: no model of that name") from None
        if not model.adapters:
            raise BadField("adapter", f"model '{name}' has no adapter")
        return model.adapters

    async def _check(self, model: InstalledModel, adapters: Adapters, *, asked: bool) -> None:
        assert model.weights is not None, "stubs of remote models are not answered"
        for path in [Path(adapter.path) for adapter in adapters]:
            if self._checks.known(path, model.weights):
                continue
            try:
                await trio.to_thread.run_sync(self._checks.require, path, model.weights)
            except DoesNotFit as error:
                if asked:
                    raise BadField("adapter", error.message) from None
                raise ModelLoadError(f"{model.name.short}: {error.message}") from None


async def lease_with(
    scheduler: Scheduler, spec: RunnerSpec, keep_alive: int | None, adapters: Adapters
) -> Lease:
    """A lease on a runner for ``spec`` that has ``adapters``; see ``Scheduler.acquire``.

    Raises:
        TrillamaError: the model or an adapter cannot be loaded now.
    """
    lease = await scheduler.acquire(spec, keep_alive)
    try:
        await lease.adopt(adapters)
    except BaseException:
        lease.release()
        raise
    return lease
