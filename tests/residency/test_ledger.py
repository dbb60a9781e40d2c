"""What models took is remembered, and makes the next estimate exact."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import msgspec
import pytest
import trio

from tests.residency.test_placement import GIB, MODEL, USE, machine, model
from trillama.base.memory import Taken
from trillama.blobs import durable
from trillama.residency import ledger
from trillama.residency.ledger import FILE, Ledger
from trillama.residency.room import Room, use_of


async def test_what_was_found_is_used_the_next_time(tmp_path: Path) -> None:
    """Also after a restart; for the same weights in the same kind of context, and no other."""
    spec = model("a")
    room = Room(lambda: machine(host=64), ledger=Ledger(tmp_path / FILE))
    guessed = room.place(spec)
    assert guessed is not None
    cells = use_of(spec.context).cells
    room.note(spec, cells, Taken(host=guessed.total + GIB))
    held = room.taken(spec)
    assert held is not None
    assert held.total == guessed.total + GIB
    await room.save()

    later = Room(lambda: machine(host=64), ledger=Ledger(tmp_path / FILE))
    found = later.place(spec)
    assert found is not None
    assert found.total == guessed.total + GIB
    other = later.place(model("b"))
    assert other is not None
    assert other.total == guessed.total


def test_what_is_taken_with_a_draft_teaches_nothing_without_it() -> None:
    """A draft that could not be used leaves less taken; the model alone is not smaller for that."""
    room, alone = Room(lambda: machine(host=64)), model("a")
    drafting = dataclasses.replace(alone, draft="/small")
    before = room.place(alone)
    assert before is not None
    room.note(drafting, use_of(alone.context).cells, Taken(host=before.total - GIB))
    assert room.place(alone) == before
    assert room.place(drafting) != before


def test_it_decides_what_fits() -> None:
    """A model that turned out larger than its estimate is not loaded where only that would fit."""
    room = Room(lambda: machine(host=64), limit=14 * GIB)
    spec = model("a")
    assert room.fits(spec, [])
    room.note(spec, use_of(spec.context).cells, Taken(host=15 * GIB))
    room.forget(spec.key)
    assert not room.fits(spec, [])


def test_what_the_library_does_not_tell_teaches_nothing() -> None:
    """Neither a silent build, nor a pool that took what happened to be free."""
    room, spec = Room(lambda: machine(host=64)), model("a")
    before = room.place(spec)
    cells = use_of(spec.context).cells
    room.note(spec, cells, Taken())
    room.note(spec, 2 * cells, Taken(host=99 * GIB))
    assert room.place(spec) == before


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"a": "b"}', b"\xff", b'{"a":1}' * 20_000]
)
async def test_a_damaged_ledger_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    """It starts anew, and is whole after the next note."""
    path = tmp_path / FILE
    path.write_bytes(content)
    assert Ledger(path).surplus("a", USE) == 0
    found = Ledger(path)
    found.note("a", USE, 5)
    await found.save()
    assert Ledger(path).surplus("a", USE) == 5


async def test_a_ledger_that_cannot_be_written_still_works(tmp_path: Path) -> None:
    """In memory, for as long as the server runs."""
    (tmp_path / "file").write_bytes(b"")
    found = Ledger(tmp_path / "file" / FILE)
    found.note("a", USE, 7)
    await found.save()
    assert found.surplus("a", USE) == 7


async def test_it_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never grows beyond its bound."""
    monkeypatch.setattr(ledger, "MOST", 3)
    found = Ledger(tmp_path / FILE)
    for n in range(5):
        found.note(f"m{n}", USE, n + 1)
        await found.save()
    found = Ledger(tmp_path / FILE)
    assert [found.surplus(f"m{n}", USE) for n in range(5)] == [0, 0, 3, 4, 5]


async def test_writes_are_beside_the_trio_thread_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk halts nobody, and what was noted last is there in the end."""
    begun, go_on, threads = trio.Event(), threading.Event(), list[int]()
    token = trio.lowlevel.current_trio_token()

    def slow(path: Path, data: bytes, *, staging: Path) -> None:
        threads.append(threading.get_ident())
        token.run_sync_soon(begun.set)
        assert go_on.wait(10)
        durable.replace_file(path, data, staging=staging)

    monkeypatch.setattr(ledger, "replace_file", slow)
    found = Ledger(tmp_path / FILE)
    async with trio.open_nursery() as nursery:
        found.note("a", USE, 1)
        nursery.start_soon(found.save)
        await begun.wait()
        found.note("a", USE, 2)
        nursery.start_soon(found.save)
        go_on.set()
    assert Ledger(tmp_path / FILE).surplus("a", USE) == 2
    assert len(threads) == 2
    assert threading.get_ident() not in threads
    await found.save()
    assert len(threads) == 2, "nothing new"


async def test_a_cancel_loses_no_write(tmp_path: Path) -> None:
    """A server that stops right after a load knows the next time."""
    found = Ledger(tmp_path / FILE)
    found.note("a", USE, 3)
    with trio.CancelScope() as scope:
        scope.cancel()
        await found.save()
    assert Ledger(tmp_path / FILE).surplus("a", USE) == 3


def test_a_surplus_never_makes_less_than_weights_and_cache() -> None:
    """However wrong an entry is."""
    least = MODEL.weights + sum(MODEL.cache(USE))
    assert msgspec.structs.replace(MODEL, surplus=-(1 << 60)).total(USE) == least
