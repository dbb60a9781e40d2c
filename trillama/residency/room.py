"""Memory and who has it: whether a model fits beside others, and where it then goes.

Asked by the scheduler at every look, on the trio thread: what devices have free is read anew each
time, everything else is arithmetic. Weights in files that are mapped count as taken although the
system could drop them, because a model whose weights are dropped crawls.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ..base.errors import ModelLoadError
from ..base.memory import Footprint, Taken, Use
from ..engine.base import ContextParams, Device, LoadParams
from ..engine.guards import check_context
from ..runner_pool import RunnerSpec
from .ledger import Ledger
from .placement import Placement, Wish, gpus, place, split

GIB = 1 << 30


class TooLarge(ModelLoadError):
    """A model that this machine cannot hold, whoever leaves."""

    code = "model_too_large"


class Room:
    """The memory of this machine.

    Args:
        devices: what there is, and how much of it is free.
        limit: bytes of the host's memory that all models together may take; 0 for no limit.
        overhead: bytes of each GPU that are not ours.
        spread: use all GPUs even where one would do.
        ledger: what models have taken before.
    """

    def __init__(
        self,
        devices: Callable[[], Sequence[Device]],
        *,
        limit: int = 0,
        overhead: int = 0,
        spread: bool = False,
        ledger: Ledger | None = None,
    ) -> None:
        self._devices = devices
        self._ledger = ledger or Ledger()
        self._limit = limit
        self._overhead = overhead
        self._spread = spread
        self._held: dict[str, Placement] = {}
        self._reserved: dict[str, int] = {}

    def place(self, spec: RunnerSpec) -> Placement | None:
        """Where a model goes by what is free now; None where nothing is known about it."""
        if spec.footprint is None:
            return None
        wish = Wish(
            overhead=self._overhead,
            spread=self._spread,
            layers=spec.load.gpu_layers,
            main_gpu=spec.load.main_gpu,
        )
        use = use_of(spec.context)
        model = msgspec.structs.replace(
            spec.footprint, surplus=self._ledger.surplus(_files(spec), use)
        )
        model = model.adapted(spec.adapters)
        return place(model, use, self._devices(), wish)

    def note(self, spec: RunnerSpec, cells: int, taken: Taken | None = None) -> None:
        """A model has been loaded; it may have taken more than it needs, if that was free.

        Args:
            spec: as ``placed`` gave it.
            cells: of its context.
            taken: what the library says it was given.
        """
        if spec.footprint is None:
            return
        self._reserved[spec.key] = spec.policy.host_cache if cells else 0
        held = self._split(spec.footprint, use_of(spec.context, cells), spec.load)
        if taken is not None and taken.total and cells:
            wanted = use_of(spec.context)
            if cells == wanted.cells:
                self._ledger.note(_files(spec), wanted, taken.total - held.total)
            held = msgspec.structs.replace(held, host=taken.host, gpu=taken.gpu)
        self._held[spec.key] = held

    def _split(self, model: Footprint, use: Use, load: LoadParams) -> Placement:
        whole = len(model.layers) + 1
        count = load.gpu_layers if load.gpu_layers >= 0 else whole
        count = min(count, whole) if gpus(self._devices()) else 0
        return split(model, use, count, load.gpu_layers, load.main_gpu)

    async def save(self) -> None:
        """Write down what was learned of models; see ``Ledger.save``."""
        await self._ledger.save()

    def forget(self, key: str) -> None:
        """A model has gone."""
        self._held.pop(key, None)
        self._reserved.pop(key, None)

    def taken(self, spec: RunnerSpec) -> Placement | None:
        """What a loaded model has, its adapters included; None where nothing is known about it.

        What its cache of prefixes may take of the host's memory is not in it.
        """
        held = self._held.get(spec.key)
        if held is None or spec.footprint is None or not spec.adapters:
            return held
        use = use_of(spec.context)
        load = dataclasses.replace(spec.load, gpu_layers=held.gpu_layers)
        bare = self._split(spec.footprint, use, load)
        more = self._split(spec.footprint.adapted(spec.adapters), use, load)
        host, gpu = held.host + more.host - bare.host, held.gpu + more.gpu - bare.gpu
        return msgspec.structs.replace(held, host=host, gpu=gpu)

    def placed(self, spec: RunnerSpec) -> RunnerSpec:
        """``spec`` with the layers that fit, to be loaded.

        Raises:
            TooLarge: it cannot be held here.
        """
        self.check(spec)
        found = self.place(spec)
        if found is None:
            return spec
        load = dataclasses.replace(spec.load, gpu_layers=found.gpu_layers, main_gpu=found.main_gpu)
        placed = dataclasses.replace(spec, load=load)
        return self._bounded(placed, spec.footprint, found) if self._limit else placed

    def _bounded(self, spec: RunnerSpec, model: Footprint | None, found: Placement) -> RunnerSpec:
        """``spec`` with what the limit leaves: half of it at most for evicted prefixes, so that
        others still fit, and what they leave for streams."""
        assert model is not None, "it was placed"
        others = sum(one.host for key, one in self._held.items() if key != spec.key)
        others += sum(size for key, size in self._reserved.items() if key != spec.key)
        left = max(0, self._limit - others - found.host)
        cache, context = min(spec.policy.host_cache, left // 2), spec.context
        if not found.gpu:
            streams = left - cache + sum(model.cache(use_of(context)))
            kv = min(context.kv_memory or streams, streams)
            context = dataclasses.replace(context, kv_memory=kv)
        policy = dataclasses.replace(spec.policy, host_cache=cache)
        return dataclasses.replace(spec, context=context, policy=policy)

    def check(self, spec: RunnerSpec) -> None:
        """See that a model could be held if it were alone.

        Raises:
            TooLarge: with the arithmetic.
        """
        found = self.place(spec)
        if found is None or spec.footprint is None:
            return
        use = use_of(spec.context)
        most = self._limit or sum(one.total for one in self._devices() if one.kind == "cpu")
        if not most or found.host <= most:
            return
        parts = (
            f"weights {_gib(spec.footprint.weights)}, "
            f"KV cache of {use.cells} cells {_gib(sum(spec.footprint.cache(use)))}, "
            f"computing {_gib(spec.footprint.compute(use))}"
            + (f", adapters {_gib(spec.adapters)}" if spec.adapters else "")
        )
        given = "MEMORY_LIMIT allows" if self._limit else "this machine has"
        beside = f", of which GPUs can take {_gib(found.gpu)}" if found.gpu else ""
        raise TooLarge(
            f"model requires more system memory than there is: {spec.name} takes "
            f"{_gib(found.total)} ({parts}){beside}, {given} {_gib(most)}; "
            "a smaller CONTEXT_LENGTH takes less"
        )

    def fits(self, spec: RunnerSpec, residents: Sequence[RunnerSpec]) -> bool:
        """Whether a model can be loaded beside ``residents``, which have their memory already."""
        found = self.place(spec)
        if found is None:
            return True
        if found.gpu_layers >= 0 > spec.load.gpu_layers and gpus(self._devices()):
            return False  # not all of it would go to GPUs: rather somebody leaves
        held = [one.footprint for one in residents if one.footprint is not None]
        free = sum(one.free for one in self._devices() if one.kind == "cpu")
        if found.host + sum(one.weights for one in held if not found.gpu) > free:
            return False
        taken = sum(self._host(one) for one in residents)
        return not self._limit or taken + found.host <= self._limit

    def _host(self, spec: RunnerSpec) -> int:
        """What a resident takes of the host's memory at most: prefixes go there as they come."""
        found = self.taken(spec) or self.place(spec)
        return self._reserved.get(spec.key, 0) + (found.host if found else 0)


def use_of(params: ContextParams, cells: int = 0) -> Use:
    """What a context takes, at least; or with so many cells."""
    checked = check_context(params)
    shared = cells or checked.cells
    return Use(
        cells=shared,
        seen=checked.cells if params.streams else shared,
        sequences=checked.sequences,
        micro_batch=checked.micro_batch,
        outputs=checked.outputs,
        cache_type_k=checked.cache_type_k,
        cache_type_v=checked.cache_type_v,
        flash_attention=checked.flash_attention is not False,
    )


def _files(spec: RunnerSpec) -> str:
    """Names of the weights and of the draft: what is taken with one teaches nothing without it."""
    return " ".join(Path(one).name for one in (spec.path, spec.draft) if one)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / (1 << 20):.1f} MiB"
