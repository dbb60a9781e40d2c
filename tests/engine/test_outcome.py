"""Which rows are ranked, when ranks are enough, and what is drawn from them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.engine.base import RANKS, Chain, ContextParams, Ranked
from trillama.engine.fake import FakeContext, FakeWeights, Hooks
from trillama.engine.graph_ranks import narrowings
from trillama.engine.outcome import Outcome, ranks_do
from trillama.engine.sampling import Rows, RowSampler

PROMPT = np.arange(9, dtype=np.int32)
N_VOCAB = 500


@dataclass
class Row:
    """What decides a row's token."""

    sampler: RowSampler
    chain: Chain | None = None
    job: Job = field(default_factory=lambda: Job(id="j", prompt=PROMPT, limit=99))


def row(logprobs: int | None = None, **options: object) -> Row:
    job = Job(id="j", prompt=PROMPT, limit=99, logprobs=logprobs)
    return Row(RowSampler(Options(**options), PROMPT, N_VOCAB, entropy=7), job=job)


def decoded(*, ranks: bool) -> FakeContext:
    """A context that has just computed two rows."""
    context = FakeContext(FakeWeights(ranks=ranks), Hooks(), ContextParams(cells=256))
    batch = context.new_batch()
    batch.add_heads([65, 66], [0, 0], [0, 1])
    context.decode(batch)
    return context


@pytest.mark.parametrize(
    ("n_vocab", "steps"),
    [
        (700, []),
        (2560, [(2560, 4)]),
        (32_000, [(32_000, 32), (2048, 2)]),
        (128_256, [(128_256, 128), (8192, 8)]),
        (151_936, [(151_936, 128), (8192, 8)]),
        (262_144, [(262_144, 256), (16_384, 16)]),
        (50_257, None),
    ],
)
def test_a_row_is_narrowed_down_evenly(n_vocab: int, steps: list[tuple[int, int]] | None) -> None:
    """Each step leaves whole blocks and fewer columns; a length that cannot be cut is refused."""
    assert narrowings(n_vocab) == steps
    for columns, block in steps or ():
        assert columns % block == 0
        assert RANKS < columns // block <= 2048
        assert RANKS * block < columns


@pytest.mark.parametrize(
    ("wish", "enough"),
    [
        ({}, True),
        ({"temperature": 0}, True),
        ({"top_k": RANKS}, True),
        ({"top_k": RANKS + 1}, False),
        ({"top_k": 0}, False),
        ({"repeat_penalty": 1.1}, False),
        ({"logit_bias": ((3, 1.0),)}, False),
        ({"logprobs": 0}, False),
    ],
)
def test_ranks_are_enough_for_plain_jobs(wish: dict[str, object], enough: bool) -> None:
    """Whoever looks at more of a row than its best needs all of it."""
    assert ranks_do(row(**wish)) is enough


def test_whole_rows_are_there_for_whoever_needs_them() -> None:
    """One such job, or a guess that has a row of its own, and none is looked at in ranks."""
    outcome = Outcome(decoded(ranks=True))
    plain, needy = [row(), row()], [row(), row(logprobs=3)]
    for whose, guessed, ranked in (
        (plain, False, True), (plain, True, False), (needy, False, False), (plain, False, True),
    ):  # fmt: skip
        found = outcome.rows(whose, guessed=guessed)
        assert isinstance(found, Ranked) is ranked
        assert len(found if not ranked else found[0]) == 2


def test_a_context_that_does_not_rank_hands_out_rows() -> None:
    """Most do not: rows that the CPU computes are there already."""
    context = decoded(ranks=False)
    assert not isinstance(Outcome(context).rows([row(), row()], guessed=False), Ranked)
    assert context.counters.rankings == 0


@pytest.mark.parametrize("count", [1, 2, 9])
def test_ranks_lead_to_the_tokens_of_whole_rows(count: int) -> None:
    """The same random numbers draw the same tokens, greedy rows and short top-k among them."""
    wishes = [{}, {"temperature": 0}, {"top_k": 5, "top_p": 0.5}, {"min_p": 0.2, "top_k": 30}]
    pairs = [[row(**wishes[at % 4]).sampler for at in range(count)] for _ in range(2)]
    whole, few = (Rows(samplers) for samplers in pairs)
    random = np.random.default_rng(3)
    for _ in range(40):
        logits = random.standard_normal((count, N_VOCAB)).astype(np.float32).round(1)
        shuffled = random.permutation(N_VOCAB)  # equal ones come in any order
        ids = shuffled[(-logits[:, shuffled]).argsort(1)[:, :RANKS]]
        ranked = few.draw_ranked(np.take_along_axis(logits, ids, 1), ids)
        assert ranked.tolist() == whole.sample(logits).tolist()


@pytest.mark.parametrize("peak", [np.nan, np.inf, -np.inf, np.finfo(np.float32).min])
def test_a_row_of_nonsense_gets_no_token(peak: float) -> None:
    """Neighbours do."""
    logits = np.zeros((2, RANKS), np.float32)
    logits[1] = peak
    ids = np.tile(np.arange(RANKS), (2, 1))
    first, second = Rows([row().sampler, row().sampler]).draw_ranked(logits, ids).tolist()
    assert first >= 0
    assert second == -1
