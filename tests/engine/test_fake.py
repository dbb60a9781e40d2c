"""The fake engine keeps llama.cpp's rules, so what passes on it means something."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.support.speaking import VOCABULARY, answer, generate, prefill, step
from trillama.base.errors import EngineError, ModelLoadError
from trillama.base.options import Options
from trillama.engine.base import Batch, ContextParams, DecodeStatus, LoadParams
from trillama.engine.fake import (
    Failure,
    FakeBackend,
    FakeContext,
    FakeWeights,
    Hooks,
    babble,
    fixed,
    open_fake_context,
)
from trillama.engine.fake_cells import History


def run_of(context: FakeContext, sequence: int, length: int, start: int = 0) -> Batch:
    """A batch of ``length`` letters, not decoded."""
    batch = context.new_batch()
    batch.add_run(sequence, start, np.full(length, 97, np.int32))
    return batch


# --- what wrong book-keeping does ---


def test_sharing_a_prefix_gives_the_same_text_as_computing_it() -> None:
    """A child that copied its parent's prefix says what it would say alone."""
    alone = open_fake_context(babble)
    expected = generate(alone, 0, prefill(alone, 0, "the common start, mine"), 40)
    shared = open_fake_context(babble)
    prefill(shared, 1, "the common start, yours")
    shared.seq_copy(1, 0, 0, len("the common start, "))
    assert generate(shared, 0, prefill(shared, 0, "mine", start=18), 40) == expected
    assert shared.counters.incoherent == 0


def test_a_prefix_of_other_text_changes_the_answer() -> None:
    """Cells taken from the wrong sequence are noticed though positions fit."""
    right, wrong = open_fake_context(babble), open_fake_context(babble)
    expected = generate(right, 0, prefill(right, 0, "abcd tail"), 40)
    prefill(wrong, 1, "abXd")
    wrong.seq_copy(1, 0, 0, 4)
    assert generate(wrong, 0, prefill(wrong, 0, " tail", start=4), 40) != expected


def test_cells_computed_after_another_beginning_are_noticed() -> None:
    """The same tokens at the same positions, but made in another context, are counted."""
    context = open_fake_context(babble)
    prefill(context, 1, "abXdef")
    prefill(context, 0, "abc")
    context.seq_copy(1, 0, 3, 6)
    assert context.tokens_of(0) == list(b"abcdef")
    step(context, 0, ord("g"))
    assert context.counters.incoherent == 1


def test_a_shift_changes_the_digest_but_goes_on() -> None:
    """Dropping the middle and closing the gap continues; forgetting the shift differs."""

    def said(*, shift: bool) -> str:
        context = open_fake_context(babble)
        token = prefill(context, 0, "0123456789")
        assert context.seq_remove(0, 4, 8)
        if shift:
            context.seq_shift(0, 8, 10, -4)
            assert context.seq_pos_max(0) == 5
        return generate(context, 0, token, 30)

    assert len(said(shift=True)) == 30
    assert said(shift=True) != said(shift=False)


def test_preempted_and_prefilled_again_it_says_the_same() -> None:
    """Text depends on visible tokens alone, not on how they got there."""
    context = open_fake_context(babble)
    token = prefill(context, 0, "prompt")
    first = generate(context, 0, token, 10)
    rest = generate(context, 0, step(context, 0, ord("!")), 10)
    context.seq_remove(0)
    assert generate(context, 0, prefill(context, 0, f"prompt{first}!"), 10) == rest


# --- cells ---


def test_shared_cells_are_counted_once_and_freed_by_the_last_owner() -> None:
    """seq_copy costs no cells; they come back when nobody sees them."""
    context = open_fake_context(babble)
    prefill(context, 0, "0123456789")
    context.seq_copy(0, 1, 0, 6)
    assert context.cells_used == 10
    context.seq_remove(0)
    assert (context.cells_used, context.seq_pos_max(0), context.seq_pos_max(1)) == (6, -1, 5)
    context.seq_remove(1, 2)
    assert (context.cells_used, context.tokens_of(1)) == (2, list(b"01"))
    context.clear()
    assert (context.cells_used, context.seq_pos_max(1)) == (0, -1)


def test_a_shift_moves_shared_cells_for_everyone() -> None:
    """As in llama.cpp, a cell has one position however many sequences see it."""
    context = open_fake_context(babble)
    prefill(context, 0, "abcdef")
    context.seq_copy(0, 1, 0, 6)
    context.seq_shift(0, 2, 6, 3)
    assert (context.seq_pos_max(0), context.seq_pos_max(1)) == (8, 8)
    context.seq_shift(0, 0, 2, -2)
    assert (context.cells_used, context.tokens_of(1)) == (4, list(b"cdef"))


def test_no_room_changes_nothing() -> None:
    """A decode that does not fit leaves cells and positions as they were, and can be retried."""
    context = open_fake_context(babble, ContextParams(cells=10))
    prefill(context, 0, "12345678")
    assert context.decode(run_of(context, 1, 3)) is DecodeStatus.NO_ROOM
    assert (context.cells_used, context.seq_pos_max(1)) == (8, -1)
    assert context.logits().shape == (0, VOCABULARY.size)
    assert context.decode(run_of(context, 1, 2)) is DecodeStatus.OK
    assert context.counters.no_room == 1


@pytest.mark.parametrize(
    ("token", "position", "sequence"),
    [(97, 4, 0), (97, 2, 0), (97, 1, 1), (97, -1, 1), (-1, 3, 0), (260, 3, 0), (97, 0, 64),
     (97, 0, -1)],
)  # fmt: skip
def test_rows_that_break_a_rule_are_invalid(token: int, position: int, sequence: int) -> None:
    """A gap, a repeat, an unknown token or sequence: INVALID, and nothing has changed."""
    context = open_fake_context(babble)
    prefill(context, 0, "abc")
    batch = context.new_batch()
    batch.add_heads([token], [position], [sequence])
    assert context.decode(batch) is DecodeStatus.INVALID
    assert (context.cells_used, context.seq_pos_max(0)) == (3, 2)


def test_an_empty_batch_is_invalid() -> None:
    """llama.cpp returns -1 for it."""
    context = open_fake_context()
    assert context.decode(context.new_batch()) is DecodeStatus.INVALID


def test_what_llama_cpp_aborts_on_raises() -> None:
    """Too many rows or outputs, unknown sequence ids, a shift that cannot be."""
    params = ContextParams(cells=100, sequences=4, batch=8, outputs=2)
    weights = {"fixed": FakeWeights(can_shift=False)}
    context = FakeBackend(weights=weights).load("fixed", LoadParams()).open_context(params)
    big = Batch(20)
    big.add_run(0, 0, np.full(9, 97, np.int32))
    with pytest.raises(EngineError, match="9 rows"):
        context.decode(big)
    big.clear()
    big.add_heads([97] * 3, [0] * 3, [0, 1, 2])
    with pytest.raises(EngineError, match="3 outputs"):
        context.decode(big)
    for call in (
        lambda: context.seq_copy(0, 4, 0, 1),
        lambda: context.seq_remove(-1),
        lambda: context.seq_pos_max(4),
        lambda: context.seq_shift(0, 0, 1, 1),
    ):
        with pytest.raises(EngineError):
            call()


def test_a_copy_onto_other_cells_raises() -> None:
    """Holding one position twice would be silent corruption in llama.cpp."""
    context = open_fake_context(babble)
    prefill(context, 0, "abc")
    prefill(context, 1, "xyz")
    with pytest.raises(EngineError, match="twice"):
        context.seq_copy(0, 1, 0, 3)


# --- logits ---


def test_logits_come_in_batch_order_and_may_be_changed() -> None:
    """One row per wanted position, in the order of the batch, writable, scripted token on top."""
    context = open_fake_context(fixed("xyz"))
    batch = context.new_batch()
    batch.add_run(3, 0, VOCABULARY.tokenize("?"))
    batch.want_last()
    batch.add_run(1, 0, VOCABULARY.tokenize("no logits here"))
    batch.add_run(0, 0, VOCABULARY.tokenize("?x"))
    batch.want_last()
    context.decode(batch)
    rows = context.logits()
    assert rows.shape == (2, VOCABULARY.size)
    assert rows.dtype == np.float32
    assert rows.argmax(1).tolist() == [ord("x"), ord("y")]
    rows[0, ord("x")] = -np.inf
    assert np.isfinite(rows[0]).sum() == VOCABULARY.size - 1


def test_rows_of_one_sequence_may_all_want_logits() -> None:
    """Each row sees only what lies before it in the same batch."""
    context = open_fake_context(fixed("xyz"))
    batch = context.new_batch()
    batch.add_heads(list(b"?xy"), [0, 1, 2], [0, 0, 0])
    context.decode(batch)
    assert bytes(context.logits().argmax(1).tolist()) == b"xyz"


# --- hooks, failures, counters ---


def test_failures_come_when_they_are_scripted() -> None:
    """fail names decodes by number: a status, a part computed and then a status, an exception."""
    fail: dict[int, DecodeStatus | Failure | Exception] = {
        1: DecodeStatus.NO_ROOM,
        2: Failure(DecodeStatus.COMPUTE_FAILED, rows=2),
        3: EngineError("boom"),
    }
    context = open_fake_context(babble, hooks=Hooks(fail=fail))
    prefill(context, 0, "abc")
    assert context.decode(run_of(context, 1, 5)) is DecodeStatus.NO_ROOM
    assert context.seq_pos_max(1) == -1
    assert context.decode(run_of(context, 1, 5)) is DecodeStatus.COMPUTE_FAILED
    assert context.seq_pos_max(1) == 1
    with pytest.raises(EngineError, match="boom"):
        context.decode(run_of(context, 1, 1, start=2))
    assert context.decode(run_of(context, 1, 1, start=2)) is DecodeStatus.OK
    assert context.counters.decodes == 5


def test_an_interrupt_stops_between_micro_batches() -> None:
    """What was computed stays, and the rest can be decoded from there."""

    def interrupting(history: History) -> int:
        context.interrupt()
        return babble(history)

    context = open_fake_context(interrupting, ContextParams(cells=100, micro_batch=4))
    batch = run_of(context, 0, 10)
    batch.wants_logits[2] = 1
    assert context.decode(batch) is DecodeStatus.INTERRUPTED
    assert (context.seq_pos_max(0), len(context.logits())) == (3, 0)
    assert context.decode(run_of(context, 0, 6, start=4)) is DecodeStatus.OK
    assert context.counters.tokens_decoded == 10


def test_a_decode_can_be_held_and_seen_by_another_thread() -> None:
    """on_decode may block; the context refuses a second thread meanwhile, but takes interrupt."""
    entered, go = threading.Event(), threading.Event()

    def hold(batch: Batch) -> None:
        entered.set()
        assert go.wait(5)

    context = open_fake_context(babble, hooks=Hooks(on_decode=hold))
    status: list[DecodeStatus] = []
    thread = threading.Thread(target=lambda: status.append(context.decode(run_of(context, 0, 3))))
    thread.start()
    assert entered.wait(5)
    with pytest.raises(EngineError, match="two threads"):
        context.seq_remove(0)
    context.interrupt()
    go.set()
    thread.join(5)
    assert status == [DecodeStatus.INTERRUPTED]
    assert context.seq_remove(0)


def test_loads_report_progress_and_can_be_cancelled() -> None:
    """progress sees the fractions; its False ends the load; on_load may refuse."""
    backend = FakeBackend()
    seen: list[float] = []
    backend.load("a", LoadParams(), lambda part: not seen.append(part))  # type: ignore[func-returns-value]
    assert seen == [0.25, 0.5, 0.75, 1.0]
    with pytest.raises(ModelLoadError, match="cancelled"):
        backend.load("b", LoadParams(), lambda part: part < 0.5)

    def refuse(path: str, params: LoadParams) -> None:
        raise ModelLoadError(f"no {path}")

    backend.hooks.on_load = refuse
    with pytest.raises(ModelLoadError, match="no c"):
        backend.load("c", LoadParams())
    assert backend.open_models == 1


def test_open_things_are_counted_and_closed_things_refuse() -> None:
    """Leaks show in the counters; a closed context raises; a model closes its contexts."""
    backend = FakeBackend()
    model = backend.load("m", LoadParams())
    context = model.open_context(ContextParams(cells=8))
    model.open_context(ContextParams(cells=8)).close()
    assert (backend.open_models, backend.open_contexts, len(backend.contexts)) == (1, 1, 2)
    model.close()
    model.close()
    assert (backend.open_models, backend.open_contexts) == (0, 0)
    with pytest.raises(EngineError, match="closed"):
        context.decode(context.new_batch())
    with pytest.raises(EngineError, match="closed"):
        model.open_context(ContextParams(cells=8))


def test_a_context_beyond_the_library_is_refused() -> None:
    """More than 256 sequences, or no cells, is a load error."""
    model = FakeBackend().load("m", LoadParams())
    for params in (ContextParams(cells=8, sequences=257), ContextParams(cells=0)):
        with pytest.raises(ModelLoadError):
            model.open_context(params)


def test_chains_follow_the_logits_and_are_counted() -> None:
    """A chain picks the top row when cold, by weight when warm; open ones are counted."""
    context = open_fake_context()
    row = np.zeros(VOCABULARY.size, np.float32)
    row[7] = 50
    none = np.empty(0, np.int32)
    chains = [context.new_chain(Options(temperature=heat, seed=1), none) for heat in (0, 0.8)]
    assert [chain.pick(row) for chain in chains] == [7, 7]
    assert context.counters.chains == 2
    for chain in chains:
        chain.close()
    assert context.counters.chains == 0
    with pytest.raises(EngineError):
        chains[0].pick(row)


def test_weights_are_chosen_by_path() -> None:
    """Each path may have its own script, template and size; others share the default."""
    backend = FakeBackend(fixed("x"), weights={"/b": FakeWeights(script=fixed("y"), size=7)})
    said = []
    for path in ("/a", "/b"):
        model = backend.load(path, LoadParams())
        said.append(answer(model.open_context(ContextParams(cells=64)), "?"))
    assert said == ["x", "y"]
    assert [model.facts.size for model in backend.models] == [1 << 20, 7]
    assert backend.devices()[0].free > 0
