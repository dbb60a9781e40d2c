"""Guesses by a second model, on the fake engine."""

from __future__ import annotations

import numpy as np
import pytest

from trillama.base.errors import ModelLoadError
from trillama.engine.base import ContextParams, DecodeStatus, LoadParams, MemoryKind
from trillama.engine.draft_model import CATCH_UP, FOLLOWED, DraftModel, check_draft, draft_params
from trillama.engine.fake import (
    Failure,
    FakeBackend,
    FakeContext,
    FakeWeights,
    Hooks,
    fixed,
    open_fake_context,
)

PARAMS = draft_params(ContextParams(cells=2048, sequences=64, outputs=64))
PROMPT = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
SAYS = "a longer answer than anybody wants"


def small(
    says: str = SAYS, fail: dict[int, DecodeStatus | Failure | Exception] | None = None
) -> FakeContext:
    return open_fake_context(fixed(says), PARAMS, hooks=Hooks(fail=fail or {}))


def text(context: FakeContext, more: str = "") -> np.ndarray:
    return context.vocabulary.tokenize(PROMPT + more)


def test_it_says_what_the_small_model_says() -> None:
    """Greedy, from wherever the answer stands, at most as many as asked for."""
    context = small()
    model = DraftModel[str](context)
    for done, most in (("", 5), ("a lon", 4), ("a longer ans", 31)):
        (draft,) = model.propose({"x": text(context, done)}, most).values()
        assert bytes(draft).decode() == SAYS[len(done) :][:most]


def test_it_ends_where_the_small_model_does() -> None:
    """An end token is no guess."""
    context = small("short")
    assert DraftModel[str](context).propose({"x": text(context)}, 20) == {"x": list(b"short")}


def test_only_what_is_new_is_read() -> None:
    """A guess that was right is in its memory already; one that was wrong is cut off."""
    context = small()
    model = DraftModel[str](context)
    model.propose({"x": text(context)}, 4)
    before = context.counters.tokens_decoded
    model.propose({"x": text(context, SAYS[:4])}, 1)
    assert context.counters.tokens_decoded - before == 1
    model.propose({"x": text(context, "b")}, 1)
    assert context.tokens_of(FOLLOWED - 1) == text(context, "b").tolist()


def test_several_answers_share_its_decodes() -> None:
    """Each of them is guessed for from its own text; one too many is not."""
    context = small()
    model = DraftModel[int](context)
    texts = {n: text(context, SAYS[:n]) for n in range(FOLLOWED + 1)}
    drafts = model.propose(texts, 3)
    expected = {n: list(SAYS[n : n + 3].encode()) for n in range(FOLLOWED)}
    assert drafts == expected
    assert context.counters.decodes == 3
    model.leave(0)
    assert model.propose({FOLLOWED: texts[FOLLOWED]}, 3)


def test_a_long_text_is_read_over_several_steps() -> None:
    """A piece each, and nothing is guessed until then: nobody waits for a long prompt twice."""
    context = small()
    model = DraftModel[str](context)
    tokens = np.concatenate((np.full(2 * CATCH_UP, 97, np.int32), text(context)))
    assert model.propose({"x": tokens}, 3) == {}
    assert model.propose({"x": tokens}, 3) == {}
    assert model.propose({"x": tokens}, 3) == {"x": list(SAYS[:3].encode())}
    assert context.counters.max_rows <= CATCH_UP


@pytest.mark.parametrize("turn", range(4))
def test_trouble_costs_guesses_and_nothing_else(turn: int) -> None:
    """What failed is forgotten, and read again the next time."""
    context = small(fail={turn: DecodeStatus.COMPUTE_FAILED})
    model = DraftModel[str](context)
    drafts = [model.propose({"x": text(context)}, 3) for _ in range(3)]
    assert drafts.count({"x": list(SAYS[:3].encode())}) >= 2
    model.leave("x")
    assert context.cells_used == 0


def test_a_text_beyond_its_memory_is_not_guessed_for() -> None:
    """Neither read nor refused."""
    context = small()
    tokens = np.full(context.limits.sequence_cells, 97, np.int32)
    assert DraftModel[str](context).propose({"x": tokens}, 3) == {}
    assert context.counters.decodes == 0


def test_a_draft_model_must_be_of_the_same_tokens_and_able_to_take_them_back() -> None:
    """Otherwise it is refused with the reason."""
    backend = FakeBackend(weights={"state": FakeWeights(memory=MemoryKind.RECURRENT)})
    main, good, stateful, other = (
        backend.load(path, LoadParams()) for path in ("m", "d", "state", "other")
    )
    check_draft(main, good)
    with pytest.raises(ModelLoadError, match="recurrent"):
        check_draft(main, stateful)
    other.vocabulary.pieces = [b"?", *other.vocabulary.pieces[1:]]
    with pytest.raises(ModelLoadError, match="vocabulary"):
        check_draft(main, other)
