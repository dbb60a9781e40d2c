"""Models that remember in other ways than plain attention."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.decoding import TOLERANCE, distance, prefill, prompt, step
from tests.support.tiny_random import TinyShape, make_tiny
from trillama.base.errors import EngineError
from trillama.engine.base import ContextParams, LoadParams, MemoryKind

KINDS = {
    "llama": MemoryKind.ATTENTION,
    "cohere2": MemoryKind.SLIDING,
    "mamba": MemoryKind.RECURRENT,
    "lfm2": MemoryKind.HYBRID,
    "eurobert": MemoryKind.NONE,
}
PARAMS = ContextParams(
    cells=512, sequences=4, batch=256, micro_batch=64, outputs=4, threads=1,
    cache_type_k="f32", cache_type_v="f32", flash_attention=False,
)  # fmt: skip


@pytest.fixture
def load(backend, tmp_path):
    """Loads a random model of an architecture, and closes it after the test."""
    models = []

    def load_one(architecture: str):
        shape = TinyShape(architecture=architecture, layers=4)
        path = make_tiny(tmp_path / f"{architecture}.gguf", shape)
        models.append(backend.load(str(path), LoadParams()))
        return models[-1]

    yield load_one
    for model in models:
        model.close()


@pytest.mark.parametrize(("architecture", "kind"), KINDS.items())
def test_the_library_tells_how_a_model_remembers(load, architecture, kind):
    """The kind comes from the library, whatever the model is called."""
    assert load(architecture).facts.memory is kind


def test_a_sliding_window_shares_cuts_and_shifts_like_attention(load):
    """Windows are kept at full size: a prefix older than the window can be shared and cut."""
    model = load("cohere2")
    context, fresh = model.open_context(PARAMS), model.open_context(PARAMS)
    assert context.limits.can_shift
    prefill(context, 0, prompt(200))
    context.seq_copy(0, 1, 0, 90)
    continued = prefill(context, 1, prompt(20, 1), 90)
    whole = np.concatenate([prompt(90), prompt(20, 1)])
    assert distance(continued, prefill(fresh, 0, whole)) < TOLERANCE
    assert context.seq_remove(0, 90)
    assert distance(prefill(context, 0, prompt(20, 1), 90), continued) < TOLERANCE


def test_a_recurrent_state_is_dropped_whole_or_not_at_all(load):
    """A tail cannot be taken back, and the answer says so; nothing shifts."""
    context = load("mamba").open_context(PARAMS)
    expected = prefill(context, 0, prompt(50))
    assert not context.seq_remove(0, 20)
    assert context.seq_pos_max(0) == 49
    assert context.seq_remove(0)
    assert context.seq_pos_max(0) == -1
    assert distance(prefill(context, 0, prompt(50)), expected) < TOLERANCE
    assert not context.limits.can_shift
    with pytest.raises(EngineError, match="cannot shift"):
        context.seq_shift(0, 10, 20, -5)


def test_a_recurrent_state_can_be_shared_at_its_end(load):
    """A copy of the whole sequence goes its own way."""
    model = load("mamba")
    context, fresh = model.open_context(PARAMS), model.open_context(PARAMS)
    prefill(context, 0, prompt(50))
    context.seq_copy(0, 1, 0, 50)
    rows = step(context, [(3, 50, 0), (4, 50, 1)])
    for row, token in zip(rows, (3, 4), strict=True):
        fresh.clear()
        whole = np.append(prompt(50), np.int32(token))
        assert distance(row, prefill(fresh, 0, whole)) < TOLERANCE


def test_a_model_without_memory_sees_a_batch_in_one_piece(load):
    """Its batches are as small as one graph, and operations on sequences are refused."""
    context = load("eurobert").open_context(PARAMS)
    assert context.limits.batch == context.limits.micro_batch == 64
    batch = context.new_batch()
    assert batch.capacity == 64
    with pytest.raises(EngineError, match="no memory"):
        context.seq_remove(0)
    context.clear()


@pytest.mark.parametrize("architecture", ["llama", "cohere2", "mamba", "lfm2"])
def test_what_was_saved_goes_on_in_another_sequence(load, architecture):
    """An image holds all that a sequence has computed, whatever became of that meanwhile."""
    model = load(architecture)
    context, fresh = model.open_context(PARAMS), model.open_context(PARAMS)
    prefill(context, 0, prompt(90))
    image = context.save(0)
    prefill(context, 0, prompt(20, 2), 90)
    assert context.seq_remove(0)
    assert context.restore(2, image)
    assert context.seq_pos_max(2) == 89
    whole = np.concatenate([prompt(90), prompt(20, 1)])
    assert distance(prefill(context, 2, prompt(20, 1), 90), prefill(fresh, 0, whole)) < TOLERANCE


def test_an_image_without_room_leaves_the_sequence_empty(load):
    """Nothing else is touched, either."""
    model = load("llama")
    context = model.open_context(PARAMS)
    prefill(context, 0, prompt(200))
    image = context.save(0)
    prefill(context, 1, prompt(200, 1))
    prefill(context, 2, prompt(56))
    assert not context.restore(3, image)
    assert context.seq_pos_max(3) == -1
    assert [context.seq_pos_max(one) for one in range(3)] == [199, 199, 55]
