"""Pool or streams, flash attention or plain: what a context gets for what was asked."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from trillama.engine.base import Attention, ContextParams, MemoryKind
from trillama.engine.layout import CROWD, SHORT, Surroundings, attention_of, cell_bytes, settle

GIB = 1 << 30
AROUND = Surroundings(
    memory=MemoryKind.ATTENTION, heads=16, cell_elements=8192, on_cpu=True, free=4 * GIB
)
"""A model of 250 M parameters: 32 KiB a cell."""


def settled(cells: int = 4096, around: Surroundings = AROUND, **more: Any) -> ContextParams:
    return settle(ContextParams(cells=cells, **more), around)


def test_nobody_asked_gets_a_pool() -> None:
    """One pool of the cells asked for, with plain attention on the CPU."""
    got = settled()
    assert (got.unified, got.cells, got.flash_attention) == (True, 4096, False)
    assert attention_of(got, on_cpu=True) is Attention.POOLED


def test_streams_each_have_all_the_cells() -> None:
    """As many as asked for and some to keep finished prompts in, where they fit."""
    got = settled(2000, streams=16)
    assert (got.unified, got.sequences, got.cells) == (False, 18, 18 * 2048)
    assert got.flash_attention is False
    assert attention_of(got, on_cpu=True) is Attention.SEPARATE


def test_streams_that_do_not_fit_become_a_pool_of_what_fits() -> None:
    """Never fewer cells than the longest request needs, never more than the streams would have."""
    assert settled(16_384, streams=16).cells == 4 * GIB // (32 << 10)
    assert settled(16_384, streams=16).unified
    little = dataclasses.replace(AROUND, free=1 << 20)
    assert settled(16_384, little, streams=16).cells == 16_384
    assert settled(1024, streams=3, kv_memory=10 << 20).cells == 1024
    assert settled(1024, streams=3, kv_memory=130 << 20).sequences == 4
    tight = settled(1024, streams=3, kv_memory=100 << 20)
    assert (tight.unified, tight.sequences) == (False, 3), "spare streams are no reason for a pool"


def test_a_crowd_in_a_pool_keeps_flash_attention() -> None:
    """There every row would pay for all the others' cells."""
    assert settled(16_384, streams=CROWD + 1, kv_memory=1).flash_attention is None
    assert settled(16_384, streams=CROWD, kv_memory=1).flash_attention is False


def test_a_short_sequence_alone_keeps_flash_attention() -> None:
    """It has little to pay for."""
    assert settled(SHORT, streams=1).flash_attention is None
    assert settled(SHORT + 1, streams=1).flash_attention is False


@pytest.mark.parametrize("kind", [MemoryKind.RECURRENT, MemoryKind.HYBRID, MemoryKind.NONE])
def test_other_memories_stay_in_one_pool(kind: MemoryKind) -> None:
    """Their states are apart anyhow."""
    assert settled(1024, dataclasses.replace(AROUND, memory=kind), streams=4).unified


@pytest.mark.parametrize(
    ("more", "around"),
    [
        ({"flash_attention": True}, AROUND),
        ({"cache_type_v": "q8_0"}, AROUND),
        ({}, dataclasses.replace(AROUND, on_cpu=False)),
        ({"cells": 1 << 18}, AROUND),
    ],
    ids=["asked for", "quantised values", "on a GPU", "long context"],
)
def test_flash_attention_stays(more: dict[str, Any], around: Surroundings) -> None:
    """Where it was asked for, needed or fast, and where scores would be huge."""
    got = settled(around=around, **more)
    assert got.flash_attention is more.get("flash_attention")
    assert attention_of(got, on_cpu=around.on_cpu) is Attention.TILED


def test_cells_weigh_what_their_elements_do() -> None:
    """Keys and values each have a type."""
    params = ContextParams(cells=1, cache_type_k="q8_0", cache_type_v="f16")
    assert cell_bytes(params, AROUND) == 8192 * 34 // 32 + 8192 * 2
