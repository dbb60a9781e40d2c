"""Where models go on machines that are only described: each row is a promise."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from tests.support.stub_pool import spec
from trillama.base.memory import Footprint, Use
from trillama.engine.base import Device
from trillama.residency.placement import MARGIN, Wish, on_gpu, on_host, place
from trillama.residency.room import Room, TooLarge, use_of
from trillama.runner_pool import RunnerSpec

GIB = 1 << 30
LAYERS = 32
MODEL = Footprint(
    layers=(GIB // 4,) * LAYERS,
    table=GIB // 2,
    output=GIB // 2,
    keys=(1024,) * LAYERS,
    values=(1024,) * LAYERS,
    state=(0,) * LAYERS,
    width=4096,
    vocabulary=128_256,
    heads=32,
    active=4 * 4096 + 3 * 14_336,
    attending=6 * 4096,
)
"""9 GiB of weights, 2 GiB of cache with 16,384 cells."""
USE = Use(cells=16_384, seen=16_384, sequences=128, micro_batch=512, outputs=128)
WHOLE = on_gpu(MODEL, USE, LAYERS + 1)


def machine(*gpus: float, host: float = 64) -> list[Device]:
    """GPUs of so many GiB, all free, and the CPU."""
    sizes = [("gpu", size) for size in gpus] + [("cpu", host)]
    return [
        Device(name=kind, description="", kind=kind, free=int(size * GIB), total=int(size * GIB))
        for kind, size in sizes
    ]


@dataclass
class Case:
    promise: str
    gpus: tuple[float, ...]
    wish: Wish
    layers: int
    main: int | None = None


CASES = [
    Case("no GPU: all stays with the CPU", (), Wish(), -1),
    Case("one large GPU takes all", (80,), Wish(), -1),
    Case("of two that could take it, the emptier one does", (24, 48), Wish(), -1, 1),
    Case("two small ones share it", (8, 8), Wish(), -1),
    Case("both, where that is wanted", (24, 48), Wish(spread=True), -1),
    Case("the one that was asked for", (24, 48), Wish(main_gpu=0), -1, 0),
    Case("part of it, where not all fits", (6,), Wish(), 14),
    Case("nothing, where not even the output fits", (1.2,), Wish(), 0),
    Case("what is not ours is left alone", (14,), Wish(overhead=8 * GIB), 14),
    Case("as many layers as somebody says, fit or not", (6,), Wish(layers=33), 33),
    Case("none, if somebody says so", (80,), Wish(layers=0), 0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.promise)
def test_where_models_go(case: Case) -> None:
    """Layers and GPU; what fits leaves a margin, and nothing is counted twice or lost."""
    found = place(MODEL, USE, machine(*case.gpus), case.wish)

    assert (found.gpu_layers, found.main_gpu) == (case.layers, case.main)
    if case.wish.layers < 0 and case.gpus:
        room = sum(size * GIB - MARGIN - case.wish.overhead for size in case.gpus)
        assert found.gpu <= room
    if found.gpu:
        assert found.total >= MODEL.total(USE)


def test_layers_split_between_host_and_gpu() -> None:
    """Every block is in one place; the one that computes needs buffers."""
    for count in range(LAYERS + 2):
        both = on_gpu(MODEL, USE, count) + on_host(MODEL, USE, count)
        buffers = MODEL.compute(USE)
        assert both - MODEL.total(USE) in (0, buffers)


def model(name: str, cells: int = 16_384, **load: int) -> RunnerSpec:
    """A spec of that model."""
    made = spec(name, cells)
    loading = dataclasses.replace(made.load, **load)
    return dataclasses.replace(made, footprint=MODEL, load=loading)


def test_a_second_model_waits_for_room() -> None:
    """It loads beside another only where all of it fits, on GPUs or under the limit."""
    a, b = model("a"), model("b")
    roomy, tight = Room(lambda: machine(80)), Room(lambda: machine(8))
    assert roomy.fits(b, [a])
    assert not tight.fits(b, [a])
    host = Room(lambda: machine(host=64), limit=20 * GIB)
    assert host.fits(b, [])
    assert not host.fits(b, [a])
    assert not Room(lambda: machine(host=16)).fits(b, [a])
    assert Room(lambda: machine(host=1)).fits(spec("c"), [])


def test_what_can_never_fit_is_refused_with_the_arithmetic() -> None:
    """Not by what is free, which changes, but by what there is."""
    room = Room(lambda: machine(host=8))
    with pytest.raises(TooLarge) as caught:
        room.check(model("a"))
    text = caught.value.message
    assert "weights 9.0 GiB" in text
    assert "KV cache of 16384 cells 2.0 GiB" in text
    assert "this machine has 8.0 GiB" in text
    Room(lambda: machine(24, host=8)).check(model("a"))
    with pytest.raises(TooLarge, match=r"MEMORY_LIMIT allows 4\.0 GiB"):
        Room(lambda: machine(host=64), limit=4 * GIB).check(model("a"))


def test_a_placed_spec_says_where_it_is() -> None:
    """Layers that were chosen are what is counted once it is loaded."""
    room = Room(lambda: machine(6))
    placed = room.placed(model("a"))
    room.note(placed, 16_384)
    taken = room.taken(placed)

    assert placed.load.gpu_layers == 14
    assert taken is not None
    assert taken.gpu == on_gpu(MODEL, use_of(placed.context, 16_384), 14)
    room.forget("/a")
    assert room.taken(placed) is None


def test_a_model_that_took_more_than_it_needs_counts_as_it_is() -> None:
    """Streams fill what was free; under a limit they leave the rest to others."""
    a, b = model("a"), model("b")
    room = Room(lambda: machine(host=64), limit=24 * GIB)
    placed = room.placed(a)
    kv = placed.context.kv_memory
    rest = 24 * GIB - MODEL.weights - MODEL.compute(use_of(placed.context))
    assert kv == pytest.approx(rest - placed.policy.host_cache)
    assert room.fits(b, [a])
    room.note(placed, 4 * 16_384)
    assert not room.fits(b, [a])
    room.forget(a.key)
    assert room.fits(b, [a])


@pytest.mark.parametrize(("gpus", "share"), [((), 0), ((80,), 1), ((6,), 13 / LAYERS)])
def test_adapters_lie_where_their_layers_do(gpus: tuple[float, ...], share: float) -> None:
    """Before they are loaded, and after a request has brought more of them along."""
    room = Room(lambda: machine(*gpus))
    bare = room.placed(model("a"))
    room.note(bare, 16_384)
    before = room.taken(bare)
    after = room.taken(dataclasses.replace(model("a"), adapters=GIB))
    assert before is not None
    assert after is not None
    assert after.total - before.total == pytest.approx(GIB)
    assert after.gpu - before.gpu == pytest.approx(share * GIB)


def test_adapters_need_room_like_all_else() -> None:
    """A model that fits alone may not fit with what it comes with."""
    a = model("a")
    room = Room(lambda: machine(host=64), limit=MODEL.total(use_of(a.context)))
    assert room.fits(a, [])
    assert not room.fits(dataclasses.replace(a, adapters=GIB), [])
    with pytest.raises(TooLarge, match=r"adapters 1\.0 GiB"):
        room.check(dataclasses.replace(a, adapters=GIB))


def caching(name: str, size: int) -> RunnerSpec:
    """A spec with so many bytes for prefixes that were evicted."""
    made = model(name)
    return dataclasses.replace(made, policy=dataclasses.replace(made.policy, host_cache=size))


def test_what_evicted_prefixes_may_take_is_kept_free_under_a_limit() -> None:
    """All of it from the load on, because it is taken later, when nobody asks any more."""
    need = MODEL.total(use_of(model("a").context))
    for cache, together in ((0, True), (GIB // 2, True), (GIB, False)):
        room = Room(lambda: machine(host=64), limit=2 * need + GIB // 2)
        placed = room.placed(caching("a", cache))
        assert placed.policy.host_cache == cache
        room.note(placed, 16_384)
        assert room.fits(caching("b", cache), [caching("a", cache)]) == together
        room.forget(placed.key)
        assert room.fits(caching("b", cache), [])


def test_evicted_prefixes_get_at_most_half_of_what_is_left() -> None:
    """A model is never refused for their sake; on a GPU it is still the host that keeps them."""
    need = MODEL.total(use_of(model("a").context))
    room = Room(lambda: machine(host=64), limit=need + GIB)
    assert room.placed(caching("a", 8 * GIB)).policy.host_cache == GIB // 2
    assert Room(lambda: machine(host=64)).placed(caching("a", 1)).policy.host_cache == 1
    on_card = Room(lambda: machine(80), limit=GIB)
    assert on_card.placed(caching("a", 8 * GIB)).policy.host_cache == (GIB - MODEL.table) // 2
