"""Where a model goes: all of it on one GPU, on several, or a part of it beside the CPU. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..base.memory import Footprint, Use
from ..engine.base import Device

MARGIN = 1 << 30
"""Bytes of a GPU that stay free: its runtime takes memory while it computes, and ends the process
where there is none."""
ALL = -1
"""Layers, when all of them go to GPUs."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asked for.

    Attributes:
        overhead: bytes of each GPU that are not for models.
        spread: use all GPUs even where one would do.
        layers: on GPUs, the output counts as one; -1 for as many as fit.
        main_gpu: number of the one to use.
    """

    overhead: int = 0
    spread: bool = False
    layers: int = ALL
    main_gpu: int | None = None


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where the parts of a model go; sizes in bytes.

    Attributes:
        gpu_layers: of the last blocks and the output, -1 for all.
        main_gpu: its number among the GPUs, None where they share the model by what each has free.
        host, gpu: what it takes of the memory of the host, and of GPUs.
    """

    gpu_layers: int
    main_gpu: int | None
    host: int
    gpu: int

    @property
    def total(self) -> int:
        """Of both kinds together."""
        return self.host + self.gpu


def gpus(devices: Sequence[Device]) -> list[Device]:
    """Those that weights can go to, in the library's order."""
    return [device for device in devices if device.kind in ("gpu", "igpu")]


def place(model: Footprint, use: Use, devices: Sequence[Device], wish: Wish) -> Placement:
    """Put a model where it fits best.

    One GPU if all of it fits there, because layers on two wait for each other; else all of them;
    else as many layers as fit, and the rest stays with the CPU.
    """
    rooms = [max(0, one.free - wish.overhead - MARGIN) for one in gpus(devices)]
    if not rooms:
        return split(model, use, 0, wish.layers, wish.main_gpu)
    whole = len(model.layers) + 1
    if wish.layers >= 0:
        return split(model, use, min(wish.layers, whole), wish.layers, wish.main_gpu)
    one = wish.main_gpu
    if one is None and not wish.spread and len(rooms) > 1:
        best = max(range(len(rooms)), key=lambda at: rooms[at])
        one = best if on_gpu(model, use, whole) <= rooms[best] else None
    room = rooms[one] if one is not None and 0 <= one < len(rooms) else sum(rooms)
    count = next(n for n in range(whole, -1, -1) if on_gpu(model, use, n) <= room)
    return split(model, use, count, ALL if count == whole else count, one)


def split(
    model: Footprint, use: Use, count: int, gpu_layers: int, main_gpu: int | None
) -> Placement:
    """The placement with ``count`` layers on GPUs, the output among them."""
    host, gpu = on_host(model, use, count), on_gpu(model, use, count)
    return Placement(gpu_layers=gpu_layers, main_gpu=main_gpu, host=host, gpu=gpu)


def on_gpu(model: Footprint, use: Use, count: int) -> int:
    """Bytes that GPUs hold of a model of which ``count`` layers went there, the output first."""
    if not count:
        return 0
    output = model.output + (model.table if model.tied else 0)
    cache, blocks = model.cache(use), max(0, count - 1)
    first = len(model.layers) - min(blocks, len(model.layers))
    return output + sum(model.layers[first:]) + sum(cache[first:]) + model.compute(use)


def on_host(model: Footprint, use: Use, count: int) -> int:
    """Bytes that stay with the CPU: the token table, and the blocks that did not go."""
    if not count:
        return model.total(use)
    first = len(model.layers) - min(max(0, count - 1), len(model.layers))
    left = sum(model.layers[:first]) + sum(model.cache(use)[:first])
    return model.table + left + (model.compute(use) if first else 0)
