"""What a model takes of memory, by its header, next to what llama.cpp says it would allocate."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hollow import SHAPES, write_hollow
from tests.support.no_alloc import Allocations, allocations
from trillama.base.memory import Use
from trillama.engine.base import ContextParams, LoadParams
from trillama.engine.guards import check_context
from trillama.models.footprint import footprint
from trillama.models.gguf import GgufFile, read_gguf
from trillama.residency.room import use_of

CONTEXTS = {
    "usual": {"cells": 16_384},
    "large": {"cells": 65_536},
    "without flash attention": {"cells": 4096, "flash_attention": False},
    "small cells": {"cells": 16_384, "cache_type_k": "q8_0", "cache_type_v": "q8_0"},
    "wide batches": {"cells": 16_384, "micro_batch": 1024},
    "streams": {"cells": 64 * 4096, "unified": False},
}


@pytest.mark.real
@pytest.mark.parametrize("name", SHAPES)
def test_the_arithmetic_is_llama_cpps(tmp_path: Path, name: str) -> None:
    """Within 5 % altogether for each way to open a context; weights to the byte."""
    path = write_hollow(tmp_path / "hollow.gguf", SHAPES[name])
    model = footprint(read_gguf(path, keep_arrays=512))
    for how, fields in CONTEXTS.items():
        if name == "bert" and not fields.get("flash_attention", True):
            continue  # an encoder's context is opened for vectors, never so
        params = check_context(ContextParams(sequences=64, outputs=64, **fields))  # type: ignore[arg-type]
        real: Allocations = allocations(path, params)
        use = Use(
            cells=params.cells,
            seen=params.cells if params.unified else params.cells // params.sequences,
            sequences=params.sequences,
            micro_batch=params.micro_batch,
            outputs=params.outputs,
            cache_type_k=params.cache_type_k,
            cache_type_v=params.cache_type_v,
            flash_attention=params.flash_attention is not False,
        )

        assert model.weights == real.weights
        assert sum(model.cache(use)) == pytest.approx(real.cache, rel=0.01), how
        assert model.total(use) == pytest.approx(real.total, rel=0.05), how


@pytest.mark.real
def test_what_a_loaded_model_took_is_what_was_estimated(tiny_model_path: Path) -> None:
    """The library tells what it gave: weights, cache, buffers; the estimate is 5 % off at most."""
    from trillama.engine.llama import LlamaBackend  # only where the library is wanted

    params = ContextParams(cells=4096, sequences=64, outputs=64, flash_attention=True)
    model = LlamaBackend().load(str(tiny_model_path), LoadParams())
    limits = model.open_context(params).limits
    real = model.facts.taken + limits.taken
    model.close()
    use = use_of(params)
    estimate = footprint(read_gguf(tiny_model_path, keep_arrays=512)).total(use)
    assert real.gpu == 0
    assert real.host == pytest.approx(estimate, rel=0.05)


def test_a_strangers_header_counts_as_nothing() -> None:
    """Lists where numbers belong, numbers that are none: sizes of 0, no trouble."""
    file = GgufFile(
        version=3,
        alignment=32,
        metadata={
            "general.architecture": "x",
            "x.attention.head_count": "many",
            "x.embedding_length": -3,
            "x.ssm.inner_size": True,
        },
        tensors=(),
        data_offset=0,
        size=0,
    )
    model = footprint(file)

    assert (model.weights, model.layers, model.width, model.heads) == (0, (), 0, 0)
